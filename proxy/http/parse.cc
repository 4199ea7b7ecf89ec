#include "proxy/http/parse.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "proxy/base/check.h"
#include "proxy/base/limits.h"
#include "proxy/http/chars.h"

namespace sluice::http {
namespace {

// What is wrong with a head; status 0 if nothing.
struct Fault {
  int status = 0;
  std::string_view text;

  explicit operator bool() const { return status != 0; }
};

Fault malformed(std::string_view text) { return {400, text}; }
Fault too_large(std::string_view text) { return {431, text}; }
Fault bad_version() { return {505, "the HTTP version is neither 1.0 nor 1.1"}; }

ParseError request_error(const Fault& fault) {
  return {fault.status, fault.status == 431 ? 431001 : 400002, std::string(fault.text)};
}
ParseError response_error(const Fault& fault) { return {503, 101503, std::string(fault.text)}; }

// The line at the front of `rest`, taken from it. The scanner has seen that every LF follows a CR.
std::string_view take_line(std::string_view& rest) {
  const std::size_t lf = rest.find('\n');
  SLUICE_DCHECK(lf != std::string_view::npos && lf > 0 && rest[lf - 1] == '\r');
  const std::string_view line = rest.substr(0, lf - 1);
  rest.remove_prefix(lf + 1);
  return line;
}

Fault parse_version(std::string_view text, int& minor) {
  if (text.size() != 8 || !text.starts_with("HTTP/") || !chars::is_digit(text[5]) ||
      text[6] != '.' || !chars::is_digit(text[7])) {
    return malformed("the start line has no valid HTTP version");
  }
  if (text[5] != '1' || text[7] > '1') {
    return bad_version();
  }
  minor = text[7] - '0';
  return {};
}

Fault parse_field(std::string_view line, Headers& headers) {
  if (line.front() == ' ' || line.front() == '\t') {
    return malformed("a header line begins with white space (a folded line)");
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) {
    return malformed("a header line has no colon");
  }
  const std::string_view name = line.substr(0, colon);
  if (!is_token(name)) {
    return malformed("a header name is empty or holds white space or another forbidden byte");
  }
  const std::string_view value = trim(line.substr(colon + 1));
  if (!std::all_of(value.begin(), value.end(), chars::is_value)) {
    return malformed("a header value holds a control byte");
  }
  if (headers.size() == limits::kHeaderCountMax) {
    return too_large("the head has too many header fields");
  }
  headers.add(name, value);
  return {};
}

// `rest`: from the first field to the empty line, which is included.
Fault parse_fields(std::string_view rest, Headers& headers) {
  headers.reserve(16, rest.size());
  while (true) {
    const std::string_view line = take_line(rest);
    if (line.empty()) {
      return {};
    }
    if (const Fault fault = parse_field(line, headers)) {
      return fault;
    }
  }
}

bool parse_length(std::string_view text, std::uint64_t& length) {
  if (text.empty() || !std::all_of(text.begin(), text.end(), chars::is_digit)) {
    return false;
  }
  constexpr std::uint64_t kMost = ~std::uint64_t{0} >> 1;
  length = 0;
  for (const char c : text) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (length > (kMost - digit) / 10) {
      return false;
    }
    length = length * 10 + digit;
  }
  return true;
}

Fault check_framing(const Headers& headers, int version_minor) {
  const std::size_t lengths = headers.count("Content-Length");
  const std::size_t codings = headers.count("Transfer-Encoding");
  if (lengths > 1) {
    return malformed("there are several Content-Length fields");
  }
  if (codings > 1) {
    return malformed("there are several Transfer-Encoding fields");
  }
  if (lengths == 1 && codings == 1) {
    return malformed("Content-Length and Transfer-Encoding exclude each other");
  }
  if (std::uint64_t length = 0;
      lengths == 1 && !parse_length(headers.get("Content-Length"), length)) {
    return malformed("Content-Length is not one decimal number below 2^63");
  }
  if (codings == 1 && !equal_ignoring_case(headers.get("Transfer-Encoding"), "chunked")) {
    return malformed("Transfer-Encoding is not exactly chunked");
  }
  if (codings == 1 && version_minor == 0) {
    return malformed("HTTP/1.0 has no Transfer-Encoding");
  }
  return {};
}

bool valid_port(std::string_view text) {
  if (text.empty() || text.size() > 5 || !std::all_of(text.begin(), text.end(), chars::is_digit)) {
    return false;
  }
  int port = 0;
  for (const char c : text) {
    port = port * 10 + (c - '0');
  }
  return port <= 65535;
}

bool valid_ipv6(std::string_view text) {
  const std::string copy(text);
  in6_addr address{};
  return copy.find('\0') == std::string::npos && inet_pton(AF_INET6, copy.c_str(), &address) == 1;
}

// Without the port that the scheme implies.
std::string_view without_default_port(std::string_view authority, bool secure) {
  const std::string_view port = secure ? ":443" : ":80";
  if (authority.ends_with(port)) {
    authority.remove_suffix(port.size());
  }
  return authority;
}

// Turns absolute form (RFC 9112 section 3.2.2) into origin form and holds its authority against
// Host.
Fault normalise_absolute(RequestHead& head) {
  static constexpr struct {
    std::string_view prefix;
    bool secure;
  } kSchemes[] = {{"http://", false}, {"https://", true}, {"ws://", false}, {"wss://", true}};
  const std::string_view target = head.target;
  for (const auto& scheme : kSchemes) {
    if (!equal_ignoring_case(target.substr(0, scheme.prefix.size()), scheme.prefix)) {
      continue;
    }
    const std::string_view rest = target.substr(scheme.prefix.size());
    const std::string_view authority = rest.substr(0, rest.find_first_of("/?"));
    if (!valid_authority(authority)) {
      return malformed("the host in the request target is not valid");
    }
    if (const auto host = head.headers.find("Host"); !host) {
      head.headers.add("Host", authority);
    } else if (!equal_ignoring_case(without_default_port(*host, scheme.secure),
                                    without_default_port(authority, scheme.secure))) {
      return malformed("Host differs from the host in the request target");
    }
    std::string origin(rest.substr(authority.size()));
    if (!origin.starts_with('/')) {
      origin.insert(origin.begin(), '/');
    }
    head.target = std::move(origin);
    return {};
  }
  return malformed("the request target is neither a path nor an http or ws URL");
}

Fault parse_request_line(std::string_view line, RequestHead& head) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last || line.find(' ', first + 1) != last) {
    return malformed("the request line is not: method, one space, target, one space, version");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  if (!is_token(method)) {
    return malformed("the method is not a token");
  }
  if (const Fault fault = parse_version(line.substr(last + 1), head.version_minor)) {
    return fault;
  }
  if (method == "CONNECT") {
    return malformed("CONNECT is not served here");
  }
  if (target.empty() || !std::all_of(target.begin(), target.end(), chars::is_visible) ||
      target.find('#') != std::string_view::npos) {
    return malformed(
        "the request target is empty or holds a byte that must be escaped, or a fragment");
  }
  head.method = method;
  head.target = target;
  return {};
}

Fault parse_whole_request(std::string_view bytes, RequestHead& head) {
  if (const Fault fault = parse_request_line(take_line(bytes), head)) {
    return fault;
  }
  if (const Fault fault = parse_fields(bytes, head.headers)) {
    return fault;
  }
  const std::size_t hosts = head.headers.count("Host");
  if (hosts > 1) {
    return malformed("there are several Host fields");
  }
  if (hosts == 0 && head.version_minor == 1) {
    return malformed("there is no Host field");
  }
  if (hosts == 1 && !valid_authority(head.headers.get("Host"))) {
    return malformed("Host is not a valid host and port");
  }
  if (const Fault fault = check_framing(head.headers, head.version_minor)) {
    return fault;
  }
  return head.target.starts_with('/') ? Fault{} : normalise_absolute(head);
}

Fault parse_status_line(std::string_view line, ResponseHead& head) {
  if (line.size() < 12 || line[8] != ' ' || (line.size() > 12 && line[12] != ' ')) {
    return malformed("the status line is not: version, one space, three digits, one space, reason");
  }
  if (const Fault fault = parse_version(line.substr(0, 8), head.version_minor)) {
    return fault;
  }
  head.status = 0;
  for (const char c : line.substr(9, 3)) {
    if (!chars::is_digit(c)) {
      return malformed("the status is not three digits");
    }
    head.status = head.status * 10 + (c - '0');
  }
  if (head.status < 100) {
    return malformed("the status is below 100");
  }
  const std::string_view reason = line.substr(std::min<std::size_t>(13, line.size()));
  if (!std::all_of(reason.begin(), reason.end(), chars::is_value)) {
    return malformed("the reason phrase holds a control byte");
  }
  head.reason = reason;
  return {};
}

Fault parse_whole_response(std::string_view bytes, ResponseHead& head) {
  if (const Fault fault = parse_status_line(take_line(bytes), head)) {
    return fault;
  }
  if (const Fault fault = parse_fields(bytes, head.headers)) {
    return fault;
  }
  return check_framing(head.headers, head.version_minor);
}

// What both kinds of head share: find the end within the bound, then read it whole.
template <typename Parse, typename Whole, typename Error>
Parse parse_head(std::string_view bytes, std::size_t bytes_max, HeadScanner& scanner, Whole whole,
                 Error error) {
  Parse result;
  Fault fault;
  switch (scanner.scan(bytes.substr(0, bytes_max))) {
    case ParseState::kNeedMore:
      if (bytes.size() < bytes_max) {
        return result;
      }
      fault = too_large("the head is too large");
      break;
    case ParseState::kError:
      fault = malformed(scanner.fault());
      break;
    case ParseState::kDone:
      fault = whole(bytes.substr(0, scanner.end()), result.head);
      break;
  }
  if (fault) {
    result.state = ParseState::kError;
    result.error = error(fault);
    result.head = {};
    return result;
  }
  result.state = ParseState::kDone;
  result.consumed = scanner.end();
  return result;
}

}  // namespace

ParseState HeadScanner::scan(std::string_view bytes) {
  const auto fail = [this](std::string_view fault) {
    fault_ = fault;
    return ParseState::kError;
  };
  if (!fault_.empty()) {
    return ParseState::kError;
  }
  if (end_ != 0) {
    return ParseState::kDone;
  }
  if (!bytes.empty() && !chars::is_token(bytes.front())) {
    return fail("the first byte can begin no start line");
  }
  while (seen_ < bytes.size()) {
    const std::size_t lf = bytes.find('\n', seen_);
    const std::size_t stop = std::min(lf, bytes.size());
    if (std::memchr(bytes.data() + seen_, 0, stop - seen_) != nullptr) {
      return fail("the head holds a NUL byte");
    }
    seen_ = stop;
    if (lf == std::string_view::npos) {
      break;
    }
    if (bytes[lf - 1] != '\r') {  // lf is not 0: the first byte is a token's
      return fail("a line ends with a bare LF");
    }
    seen_ = lf + 1;
    if (lf - line_begin_ == 1) {
      end_ = lf + 1;
      return ParseState::kDone;
    }
    line_begin_ = lf + 1;
  }
  return ParseState::kNeedMore;
}

RequestParse parse_request_head(std::string_view bytes, std::size_t bytes_max,
                                HeadScanner& scanner) {
  return parse_head<RequestParse>(bytes, bytes_max, scanner, parse_whole_request, request_error);
}

RequestParse parse_request_head(std::string_view bytes, std::size_t bytes_max) {
  HeadScanner scanner;
  return parse_request_head(bytes, bytes_max, scanner);
}

ResponseParse parse_response_head(std::string_view bytes, std::size_t bytes_max,
                                  HeadScanner& scanner) {
  return parse_head<ResponseParse>(bytes, bytes_max, scanner, parse_whole_response, response_error);
}

ResponseParse parse_response_head(std::string_view bytes, std::size_t bytes_max) {
  HeadScanner scanner;
  return parse_response_head(bytes, bytes_max, scanner);
}

bool valid_authority(std::string_view text) {
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || !valid_ipv6(text.substr(1, end - 1))) {
      return false;
    }
    text.remove_prefix(end + 1);
    return text.empty() || (text.front() == ':' && valid_port(text.substr(1)));
  }
  const std::size_t colon = text.find(':');
  if (colon != std::string_view::npos && !valid_port(text.substr(colon + 1))) {
    return false;
  }
  const std::string_view host = text.substr(0, colon);
  return !host.empty() && host.size() <= 255 &&
         std::all_of(host.begin(), host.end(), chars::is_unreserved);
}

}  // namespace sluice::http
