// Where a message's body ends, and the chunked coding (RFC 9112 sections 6 and 7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/http/head.h"
#include "proxy/http/parse.h"

namespace sluice::http {

struct BodyFraming {
  enum Kind : std::uint8_t { kNone, kLength, kChunked, kUntilClose };
  Kind kind = kNone;
  std::uint64_t length = 0;  // of kLength; never 0
};

// Of a head that was parsed by this folder, whose checks they rely on.
BodyFraming request_body(const RequestHead& head);
// `method` of the request that it answers.
BodyFraming response_body(const ResponseHead& head, std::string_view method);

// Takes the chunked coding apart. Strict: sizes of at most 15 hex digits (below 2^60), extensions
// bounded by limits::kChunkExtensionBytesMax a chunk and dropped, trailers bounded by
// limits::kTrailerBytesMax and dropped, CRLF everywhere.
class ChunkDecoder {
 public:
  struct Step {
    ParseState state = ParseState::kNeedMore;
    std::size_t consumed = 0;
    std::string_view data;  // part of the body, a view into the bytes given
  };

  // Takes from the front of `bytes` until it has a run of body bytes, the body ends (kDone), the
  // bytes do (kNeedMore with all consumed) or they are wrong (kError; fault() says why). A run
  // comes with kNeedMore: call again with the rest.
  Step step(std::string_view bytes);
  std::string_view fault() const { return fault_; }

 private:
  enum class State : std::uint8_t {
    kSize,       // in the hex digits
    kExtension,  // after them, up to CR
    kSizeLf,     // the LF after it
    kData,
    kDataCr,
    kDataLf,
    kTrailer,  // in a trailer line
    kTrailerLf,
    kDone,
    kError,
  };

  bool take(char c);
  bool take_size(char c);
  bool take_trailer(char c);
  bool fail(std::string_view fault);

  State state_ = State::kSize;
  std::uint8_t digits_ = 0;
  std::uint64_t left_ = 0;       // of the chunk
  std::size_t extra_bytes_ = 0;  // of the extension or the trailers
  std::size_t line_bytes_ = 0;   // of the trailer line
  std::string_view fault_;
};

// A whole body of any framing, bounded.
class BodyReader {
 public:
  BodyReader(BodyFraming framing, std::size_t bytes_max);

  // kDone also when there is no body (then call it with nothing). `consumed` of `bytes` belong to
  // the body. kError: too_large() or malformed.
  ParseState read(std::string_view bytes, std::size_t& consumed);
  // The peer has ended the stream: whether the body is complete.
  bool end();
  bool too_large() const { return too_large_; }
  const std::string& body() const { return body_; }
  std::string take_body() { return std::move(body_); }

 private:
  ParseState read_length(std::string_view bytes, std::size_t& consumed);
  ParseState read_chunked(std::string_view bytes, std::size_t& consumed);
  bool append(std::string_view data);

  BodyFraming framing_;
  std::size_t bytes_max_;
  ChunkDecoder chunks_;
  std::string body_;
  ParseState state_ = ParseState::kNeedMore;
  bool too_large_ = false;
};

// One chunk; `data` must not be empty, which would end the body.
std::string make_chunk(std::string_view data);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace sluice::http
