// A body on its way through: taken apart as it came, framed anew as it goes on, piece by piece.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/http/body.h"

namespace sluice::http {

// Sans-I/O; one a body. Trailers and chunk extensions are checked, bounded and dropped.
class BodyCoder {
 public:
  BodyCoder() : BodyCoder(BodyFraming{}, false) {}
  // `chunked_out`: it goes on in the chunked coding; otherwise as it is.
  BodyCoder(BodyFraming in, bool chunked_out);

  struct Piece {
    std::string_view bytes;     // to pass on: a view of what was given, or of `scratch`
    std::size_t consumed = 0;   // bytes that belong to the body
    std::size_t payload = 0;    // of them: bytes of the body itself
  };

  // Takes what belongs to the body from the front of `bytes`. Once done() nothing is taken; after a
  // fault() nothing more is passed on. `scratch` may be cleared and filled.
  Piece take(std::string_view bytes, std::string& scratch);

  // The peer ended the stream: whether the body is complete. Adds what ends it to `out`.
  bool end(std::string& out);

  bool done() const { return done_; }
  // Empty: none. It quotes nothing of the input.
  std::string_view fault() const { return chunks_.fault(); }

 private:
  void append(std::string_view payload, std::string& out) const;

  BodyFraming in_;
  std::uint64_t left_;
  ChunkDecoder chunks_;
  bool chunked_out_;
  bool done_;
};

}  // namespace sluice::http
