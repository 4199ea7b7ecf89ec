// Strict HTTP/1.x heads (RFC 9112): what two readers could understand differently is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/http/head.h"

namespace sluice::http {

enum class ParseState : std::uint8_t { kNeedMore, kDone, kError };

// Status and code are those of the table "Refusals" in behaviour.md: 400/400002, 431/431001,
// 505/400002; of a response 503/101503. `text` says what was wrong and quotes nothing of the input.
struct ParseError {
  int status = 0;
  int code = 0;
  std::string text;
};

// Looks for the end of a head, remembering where it stopped, so that a sender of single bytes costs
// linear time. It refuses at once what can no longer become a head (bare LF, NUL, a first byte that
// begins no request or status line), without waiting for an end that may never come. One a head.
class HeadScanner {
 public:
  // `bytes`: all of the head so far. kDone: its size, with the empty line, is in end().
  ParseState scan(std::string_view bytes);
  std::size_t end() const { return end_; }
  // After kError.
  std::string_view fault() const { return fault_; }

 private:
  std::size_t seen_ = 0;        // bytes looked at
  std::size_t line_begin_ = 0;  // of the line that seen_ lies in
  std::size_t end_ = 0;
  std::string_view fault_;
};

struct RequestParse {
  ParseState state = ParseState::kNeedMore;
  std::size_t consumed = 0;  // bytes of the head, with its empty line; set when done
  RequestHead head;          // set when done
  ParseError error;          // set on error
};

struct ResponseParse {
  ParseState state = ParseState::kNeedMore;
  std::size_t consumed = 0;
  ResponseHead head;
  ParseError error;
};

// `bytes` begins with a request head, perhaps incomplete; called again with all of it when more has
// come, with the same `scanner` (fresh for each head). An accepted head:
//  - is HTTP/1.0 or 1.1, its method a token, its target in origin form (absolute form, http(s) or
//    ws(s), is turned into it) of visible ASCII without a fragment;
//  - has at most limits::kHeaderCountMax fields and `bytes_max` bytes;
//  - has one valid Host (1.0: at most one), equal to the host of an absolute target;
//  - has at most one of Content-Length (one, digits, below 2^63) and Transfer-Encoding (one,
//  exactly
//    `chunked`, 1.1 only);
//  - has no bare CR or LF, no folded line, no space around a name, no control byte.
// Values come trimmed. An unknown `Expect` or `Upgrade` is the caller's matter.
RequestParse parse_request_head(std::string_view bytes, std::size_t bytes_max,
                                HeadScanner& scanner);
RequestParse parse_request_head(std::string_view bytes, std::size_t bytes_max);

// The same rules of lines, fields and framing; no Host. A status line without the space before an
// empty reason is accepted.
ResponseParse parse_response_head(std::string_view bytes, std::size_t bytes_max,
                                  HeadScanner& scanner);
ResponseParse parse_response_head(std::string_view bytes, std::size_t bytes_max);

// host [":" port] as in Host: letters, digits and "-._~", or an IPv6 address in brackets; port 0 to
// 65535. Percent-encoding and sub-delimiters, which no real host needs, are refused.
bool valid_authority(std::string_view text);

}  // namespace sluice::http
