#include "proxy/http/body.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "proxy/base/check.h"
#include "proxy/base/limits.h"
#include "proxy/http/chars.h"

namespace sluice::http {
namespace {

BodyFraming declared(const Headers& headers, BodyFraming otherwise) {
  if (headers.has("Transfer-Encoding")) {
    return {BodyFraming::kChunked, 0};
  }
  if (const auto text = headers.find("Content-Length")) {
    std::uint64_t length = 0;
    std::from_chars(text->data(), text->data() + text->size(), length);
    return length == 0 ? BodyFraming{} : BodyFraming{BodyFraming::kLength, length};
  }
  return otherwise;
}

constexpr int kSizeDigitsMax = 15;

}  // namespace

BodyFraming request_body(const RequestHead& head) { return declared(head.headers, {}); }

BodyFraming response_body(const ResponseHead& head, std::string_view method) {
  if (method == "HEAD" || head.status < 200 || head.status == 204 || head.status == 304) {
    return {};
  }
  return declared(head.headers, {BodyFraming::kUntilClose, 0});
}

bool ChunkDecoder::fail(std::string_view fault) {
  fault_ = fault;
  state_ = State::kError;
  return false;
}

bool ChunkDecoder::take_size(char c) {
  if (const int value = chars::hex_value(c); value >= 0) {
    if (digits_ == kSizeDigitsMax) {
      return fail("a chunk size has too many digits");
    }
    ++digits_;
    left_ = left_ << 4 | static_cast<std::uint64_t>(value);
    return true;
  }
  if (digits_ == 0) {
    return fail("a chunk has no size");
  }
  if (c == '\r') {
    state_ = State::kSizeLf;
    return true;
  }
  // White space is allowed in front of an extension alone (RFC 9112 section 7.1.1, as "bad"); it is
  // not accepted, because readers differ on it.
  if (c != ';') {
    return fail("a chunk size is not hexadecimal");
  }
  extra_bytes_ = 0;
  state_ = State::kExtension;
  return true;
}

bool ChunkDecoder::take_trailer(char c) {
  if (c == '\r') {
    state_ = State::kTrailerLf;
    return true;
  }
  if (!chars::is_value(c)) {
    return fail("a trailer holds a control byte");
  }
  if (line_bytes_ == 0 && !chars::is_token(c)) {
    return fail("a trailer line does not begin with a name");
  }
  ++line_bytes_;
  if (++extra_bytes_ > limits::kTrailerBytesMax) {
    return fail("the trailers are too large");
  }
  return true;
}

bool ChunkDecoder::take(char c) {
  switch (state_) {
    case State::kSize:
      return take_size(c);
    case State::kExtension:
      if (c == '\r') {
        state_ = State::kSizeLf;
        return true;
      }
      if (!chars::is_value(c)) {
        return fail("a chunk extension holds a control byte");
      }
      return ++extra_bytes_ <= limits::kChunkExtensionBytesMax ||
             fail("a chunk extension is too large");
    case State::kSizeLf:
      extra_bytes_ = 0;
      line_bytes_ = 0;
      digits_ = 0;
      state_ = left_ == 0 ? State::kTrailer : State::kData;
      return c == '\n' || fail("a chunk size line does not end with CRLF");
    case State::kDataCr:
      state_ = State::kDataLf;
      return c == '\r' || fail("a chunk does not end with CRLF");
    case State::kDataLf:
      state_ = State::kSize;
      return c == '\n' || fail("a chunk does not end with CRLF");
    case State::kTrailer:
      return take_trailer(c);
    case State::kTrailerLf:
      state_ = line_bytes_ == 0 ? State::kDone : State::kTrailer;
      line_bytes_ = 0;
      return c == '\n' || fail("a trailer line does not end with CRLF");
    case State::kData:
    case State::kDone:
    case State::kError:
      break;
  }
  return false;
}

ChunkDecoder::Step ChunkDecoder::step(std::string_view bytes) {
  Step out;
  while (state_ != State::kError && state_ != State::kDone && out.consumed < bytes.size()) {
    if (state_ == State::kData) {
      const auto size =
          static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size() - out.consumed));
      out.data = bytes.substr(out.consumed, size);
      out.consumed += size;
      left_ -= size;
      state_ = left_ == 0 ? State::kDataCr : State::kData;
      return out;
    }
    if (take(bytes[out.consumed])) {
      ++out.consumed;
    }
  }
  out.state = state_ == State::kError  ? ParseState::kError
              : state_ == State::kDone ? ParseState::kDone
                                       : ParseState::kNeedMore;
  return out;
}

BodyReader::BodyReader(BodyFraming framing, std::size_t bytes_max)
    : framing_(framing), bytes_max_(bytes_max) {
  if (framing.kind == BodyFraming::kNone) {
    state_ = ParseState::kDone;
  } else if (framing.kind == BodyFraming::kLength && framing.length > bytes_max) {
    too_large_ = true;
    state_ = ParseState::kError;
  }
}

bool BodyReader::append(std::string_view data) {
  if (data.size() > bytes_max_ - body_.size()) {
    too_large_ = true;
    state_ = ParseState::kError;
    return false;
  }
  body_.append(data);
  return true;
}

ParseState BodyReader::read_length(std::string_view bytes, std::size_t& consumed) {
  const std::size_t left = static_cast<std::size_t>(framing_.length) - body_.size();
  consumed = std::min(left, bytes.size());
  if (append(bytes.substr(0, consumed)) && consumed == left) {
    state_ = ParseState::kDone;
  }
  return state_;
}

ParseState BodyReader::read_chunked(std::string_view bytes, std::size_t& consumed) {
  while (true) {
    const ChunkDecoder::Step step = chunks_.step(bytes.substr(consumed));
    consumed += step.consumed;
    if (!append(step.data)) {
      return state_;
    }
    state_ = step.state;
    if (state_ != ParseState::kNeedMore || consumed == bytes.size()) {
      return state_;
    }
  }
}

ParseState BodyReader::read(std::string_view bytes, std::size_t& consumed) {
  consumed = 0;
  if (state_ != ParseState::kNeedMore) {
    return state_;
  }
  switch (framing_.kind) {
    case BodyFraming::kLength:
      return read_length(bytes, consumed);
    case BodyFraming::kChunked:
      return read_chunked(bytes, consumed);
    case BodyFraming::kUntilClose:
      consumed = bytes.size();
      append(bytes);
      break;
    case BodyFraming::kNone:
      break;
  }
  return state_;
}

bool BodyReader::end() {
  if (state_ == ParseState::kNeedMore && framing_.kind == BodyFraming::kUntilClose) {
    state_ = ParseState::kDone;
  }
  return state_ == ParseState::kDone;
}

std::string make_chunk(std::string_view data) {
  SLUICE_DCHECK(!data.empty());
  std::string out = fmt::format("{:x}\r\n", data.size());
  out.reserve(out.size() + data.size() + 2);
  out.append(data).append("\r\n");
  return out;
}

}  // namespace sluice::http
