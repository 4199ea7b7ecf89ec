#include "proxy/http/body_coder.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace sluice::http {

BodyCoder::BodyCoder(BodyFraming in, bool chunked_out)
    : in_(in),
      left_(in.length),
      chunked_out_(chunked_out),
      done_(in.kind == BodyFraming::kNone) {}

void BodyCoder::append(std::string_view payload, std::string& out) const {
  if (!chunked_out_) {
    out.append(payload);
  } else if (!payload.empty()) {
    fmt::format_to(std::back_inserter(out), "{:x}\r\n", payload.size());
    out.append(payload).append("\r\n");
  }
}

BodyCoder::Piece BodyCoder::take(std::string_view bytes, std::string& scratch) {
  Piece piece;
  if (done_ || !fault().empty()) {
    return piece;
  }
  scratch.clear();
  if (in_.kind == BodyFraming::kChunked) {
    while (piece.consumed < bytes.size() && !done_ && fault().empty()) {
      const ChunkDecoder::Step step = chunks_.step(bytes.substr(piece.consumed));
      piece.consumed += step.consumed;
      piece.payload += step.data.size();
      append(step.data, scratch);
      done_ = step.state == ParseState::kDone;
    }
  } else {
    piece.consumed = in_.kind == BodyFraming::kLength
                         ? static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()))
                         : bytes.size();
    piece.payload = piece.consumed;
    left_ -= in_.kind == BodyFraming::kLength ? piece.consumed : 0;
    done_ = in_.kind == BodyFraming::kLength && left_ == 0;
    if (!chunked_out_) {
      piece.bytes = bytes.substr(0, piece.consumed);
      return piece;
    }
    append(bytes.substr(0, piece.consumed), scratch);
  }
  if (done_ && chunked_out_) {
    scratch.append(kLastChunk);
  }
  piece.bytes = scratch;
  return piece;
}

bool BodyCoder::end(std::string& out) {
  if (!done_ && in_.kind == BodyFraming::kUntilClose) {
    done_ = true;
    if (chunked_out_) {
      out.append(kLastChunk);
    }
  }
  return done_;
}

}  // namespace sluice::http
