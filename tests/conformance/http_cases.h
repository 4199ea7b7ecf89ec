// HTTP/1.1 request and response heads that RFC 9112 and RFC 9110 decide on, as bytes. "9112 3.2" is
// a section of RFC 9112.
#pragma once

#include <string>
#include <vector>

namespace sluice::conformance {

struct HeadCase {
  const char* name;  // letters and digits, for the test's name
  const char* rule;
  std::string bytes;
  int status;  // 0: accepted; else the answer's status and code (behaviour.md, refusals)
  int code;
};

inline constexpr int kMalformed = 400002;
inline constexpr int kHeadTooLarge = 431001;

// A request with these lines between the request line and the empty line.
inline std::string get(const std::string& lines) { return "GET / HTTP/1.1\r\n" + lines + "\r\n"; }
inline std::string post(const std::string& lines) {
  return "POST / HTTP/1.1\r\nHost: h\r\n" + lines + "\r\n";
}
// A request line with what a request of 1.1 needs.
inline std::string line(const std::string& request_line) {
  return request_line + "\r\nHost: h\r\n\r\n";
}
inline std::string nul(std::string text) {
  for (char& c : text) {
    c = c == '@' ? '\0' : c;
  }
  return text;
}

inline std::vector<HeadCase> accepted_requests() {
  return {
      {"Plain", "9112 2.1", get("Host: h\r\n"), 0, 0},
      {"NoSpaceAfterColon", "9112 5.1: OWS is optional", get("Host:h\r\n"), 0, 0},
      {"SpaceAroundValue", "9112 5.1: OWS is not the value", get("Host: \t h \t\r\n"), 0, 0},
      {"EmptyValue", "9110 5.5", get("Host: h\r\nX:\r\n"), 0, 0},
      {"ObsText", "9110 5.5: 0x80 to 0xff is opaque", get("Host: h\r\nX: \xff\xfe\r\n"), 0, 0},
      {"AnyTokenIsAMethod", "9110 9.1", line("M-SEARCH! / HTTP/1.1"), 0, 0},
      {"Http10", "9112 3.2: Host is 1.1's", "GET / HTTP/1.0\r\n\r\n", 0, 0},
      {"AbsoluteForm", "9112 3.2.2: a server must accept it", line("GET http://h/a HTTP/1.1"), 0,
       0},
      {"AbsoluteFormPort", "9110 4.2.3: port 80 is http's own", line("GET http://h:80/ HTTP/1.1"),
       0, 0},
      {"QueryMarkInQuery", "3986 3.4", line("GET /?a=?/b HTTP/1.1"), 0, 0},
      {"Length", "9112 6.2", post("Content-Length: 10\r\n"), 0, 0},
      {"Chunked", "9112 6.1", post("Transfer-Encoding: chunked\r\n"), 0, 0},
      {"ChunkedWithoutCase", "9110 10.1.4: names of codings have no case",
       post("transfer-encoding: CHUNKED\r\n"), 0, 0},
      {"Ipv6Host", "9110 7.2", get("Host: [2001:db8::1]:8099\r\n"), 0, 0},
  };
}

// What a front and a back end could split into messages at different bytes.
inline std::vector<HeadCase> framing_requests() {
  return {
      {"LengthAndChunked", "9112 6.3: CL.TE smuggling",
       post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"), 400, kMalformed},
      {"ChunkedAndLength", "9112 6.3: TE.CL smuggling",
       post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"), 400, kMalformed},
      {"TwoLengths", "9112 6.3: CL.CL smuggling",
       post("Content-Length: 4\r\nContent-Length: 5\r\n"), 400, kMalformed},
      {"TwoEqualLengths", "9112 6.3: may be refused, so it is",
       post("Content-Length: 4\r\nContent-Length: 4\r\n"), 400, kMalformed},
      {"LengthList", "9112 6.3", post("Content-Length: 4, 4\r\n"), 400, kMalformed},
      {"LengthPlus", "9110 8.6: digits alone", post("Content-Length: +4\r\n"), 400, kMalformed},
      {"LengthMinus", "9110 8.6", post("Content-Length: -4\r\n"), 400, kMalformed},
      {"LengthHex", "9110 8.6", post("Content-Length: 0x4\r\n"), 400, kMalformed},
      {"LengthFraction", "9110 8.6", post("Content-Length: 4.0\r\n"), 400, kMalformed},
      {"LengthInnerSpace", "9110 8.6", post("Content-Length: 4 4\r\n"), 400, kMalformed},
      {"LengthEmpty", "9110 8.6", post("Content-Length:\r\n"), 400, kMalformed},
      {"LengthOf2To63", "9110 8.6: overflow", post("Content-Length: 9223372036854775808\r\n"), 400,
       kMalformed},
      {"LengthOf2To64", "9110 8.6: wraps to 0", post("Content-Length: 18446744073709551616\r\n"),
       400, kMalformed},
      {"TwoCodings", "9112 6.1: TE.TE smuggling",
       post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), 400, kMalformed},
      {"ChunkedTwice", "9112 6.1", post("Transfer-Encoding: chunked, chunked\r\n"), 400,
       kMalformed},
      {"ChunkedTwiceInFields", "9112 6.1",
       post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400, kMalformed},
      {"ChunkedNotLast", "9112 6.3", post("Transfer-Encoding: chunked, gzip\r\n"), 400, kMalformed},
      {"CodingBeforeChunked", "9112 6.1: a coding that we do not decode",
       post("Transfer-Encoding: gzip, chunked\r\n"), 400, kMalformed},
      {"Identity", "9112 7: not a coding", post("Transfer-Encoding: identity\r\n"), 400,
       kMalformed},
      {"AlmostChunked", "TE.TE smuggling", post("Transfer-Encoding: xchunked\r\n"), 400,
       kMalformed},
      {"QuotedChunked", "TE.TE smuggling", post("Transfer-Encoding: \"chunked\"\r\n"), 400,
       kMalformed},
      {"ChunkedParameter", "9112 7.1", post("Transfer-Encoding: chunked;q=1\r\n"), 400, kMalformed},
      {"ChunkedTrailingComma", "TE.TE smuggling", post("Transfer-Encoding: chunked,\r\n"), 400,
       kMalformed},
      {"ChunkedVerticalTab", "TE.TE smuggling", post("Transfer-Encoding: \vchunked\r\n"), 400,
       kMalformed},
      {"CodingEmpty", "9112 6.1", post("Transfer-Encoding:\r\n"), 400, kMalformed},
      {"SpaceInCodingName", "9112 5.1", post("Transfer-Encoding : chunked\r\n"), 400, kMalformed},
      {"CodingInHttp10", "9112 6.1: faulty framing",
       "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, kMalformed},
  };
}

inline std::vector<HeadCase> line_requests() {
  return {
      {"BareLf", "9112 2.2: other readers take it for a line's end", "GET / HTTP/1.1\nHost: h\n\n",
       400, kMalformed},
      {"BareLfInFields", "9112 2.2", get("Host: h\nX: y\r\n"), 400, kMalformed},
      {"BareLfAtTheEnd", "9112 2.2", "GET / HTTP/1.1\r\nHost: h\r\n\n", 400, kMalformed},
      {"BareCr", "9112 2.2", get("Host: h\r\nX: a\rY: b\r\n"), 400, kMalformed},
      {"BareCrInName", "9112 2.2", get("Host: h\r\nX\r: b\r\n"), 400, kMalformed},
      {"DoubleCr", "9112 2.2", get("Host: h\r\r\n"), 400, kMalformed},
      {"FoldedLine", "9112 5.2: obs-fold", get("Host: h\r\nX: a\r\n b\r\n"), 400, kMalformed},
      {"FoldedLineTab", "9112 5.2", get("Host: h\r\nX: a\r\n\tb\r\n"), 400, kMalformed},
      {"FoldedFirstLine", "9112 2.2: white space after the start line", get(" Host: h\r\n"), 400,
       kMalformed},
      {"FoldOfSpaceAlone", "9112 5.2", get("Host: h\r\nX: a\r\n \r\n"), 400, kMalformed},
      {"SpaceBeforeColon", "9112 5.1: must be 400", get("Host: h\r\nX : a\r\n"), 400, kMalformed},
      {"TabBeforeColon", "9112 5.1", get("Host: h\r\nX\t: a\r\n"), 400, kMalformed},
      {"NoColon", "9112 5", get("Host: h\r\nX\r\n"), 400, kMalformed},
      {"EmptyName", "9110 5.1", get("Host: h\r\n: a\r\n"), 400, kMalformed},
      {"NameNotAToken", "9110 5.1", get("Host: h\r\nX(y): a\r\n"), 400, kMalformed},
      {"NameBeyondAscii", "9110 5.1", get("Host: h\r\nX\xc3\xa9: a\r\n"), 400, kMalformed},
      {"NulInValue", "9110 5.5", nul(get("Host: h\r\nX: a@b\r\n")), 400, kMalformed},
      {"NulInName", "9110 5.1", nul(get("Host: h\r\nX@: a\r\n")), 400, kMalformed},
      {"NulInTarget", "9112 3.2", nul(line("GET /@ HTTP/1.1")), 400, kMalformed},
      {"ControlInValue", "9110 5.5", get("Host: h\r\nX: a\x01\r\n"), 400, kMalformed},
      {"DeleteInValue", "9110 5.5", get("Host: h\r\nX: a\x7f\r\n"), 400, kMalformed},
      {"EmptyLineFirst", "9112 2.2: may be ignored, is refused", "\r\n" + get("Host: h\r\n"), 400,
       kMalformed},
      {"SpaceFirst", "9112 2.2", " " + get("Host: h\r\n"), 400, kMalformed},
      {"TlsHello", "not HTTP at all", "\x16\x03\x01\x02", 400, kMalformed},
  };
}

inline std::vector<HeadCase> start_line_requests() {
  return {
      {"Http09", "9112 2.3: HTTP/0.9", "GET /\r\n\r\n", 400, kMalformed},
      {"Http2Preface", "9113 3.4: over TCP without agreement", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
       505, kMalformed},
      {"Http12", "9110 2.5: no such version", line("GET / HTTP/1.2"), 505, kMalformed},
      {"Http3", "9110 15.6.6", line("GET / HTTP/3.0"), 505, kMalformed},
      {"VersionWithoutCase", "9112 2.3: HTTP-name has case", line("GET / http/1.1"), 400,
       kMalformed},
      {"VersionTooLong", "9112 2.3", line("GET / HTTP/1.10"), 400, kMalformed},
      {"VersionOtherName", "9112 2.3", line("GET / HTTQ/1.1"), 400, kMalformed},
      {"MethodNotAToken", "9110 9.1", line("GE(T / HTTP/1.1"), 400, kMalformed},
      {"TwoSpacesBeforeTarget", "9112 3: one space", line("GET  / HTTP/1.1"), 400, kMalformed},
      {"TwoSpacesBeforeVersion", "9112 3", line("GET /  HTTP/1.1"), 400, kMalformed},
      {"TabInRequestLine", "9112 3", line("GET\t/ HTTP/1.1"), 400, kMalformed},
      {"SpaceInTarget", "9112 3.2: must not be repaired", line("GET /a b HTTP/1.1"), 400,
       kMalformed},
      {"SpaceAfterVersion", "9112 3", line("GET / HTTP/1.1 "), 400, kMalformed},
      {"Fragment", "9112 3.2: no fragment in a target", line("GET /a#b HTTP/1.1"), 400, kMalformed},
      {"TargetBeyondAscii", "3986 2", line("GET /\xc3\xa9 HTTP/1.1"), 400, kMalformed},
      {"ControlInTarget", "3986 2", line("GET /\x01 HTTP/1.1"), 400, kMalformed},
      {"AsteriskForm", "9112 3.2.4: of no use at a gateway", line("OPTIONS * HTTP/1.1"), 400,
       kMalformed},
      {"AuthorityForm", "9112 3.2.3: CONNECT is not served", line("CONNECT h:80 HTTP/1.1"), 400,
       kMalformed},
      {"ConnectToAPath", "9110 9.3.6", line("CONNECT / HTTP/1.1"), 400, kMalformed},
      {"RelativeTarget", "9112 3.2", line("GET a HTTP/1.1"), 400, kMalformed},
      {"OtherScheme", "9112 3.2.2: not ours", line("GET ftp://h/ HTTP/1.1"), 400, kMalformed},
      {"AbsoluteFormNoHost", "9110 4.2.1: an empty host is invalid", line("GET http:///a HTTP/1.1"),
       400, kMalformed},
      {"AbsoluteFormOtherHost", "9112 3.2.2: two hosts in one request",
       line("GET http://o/ HTTP/1.1"), 400, kMalformed},
      {"AbsoluteFormOtherPort", "9112 3.2.2", line("GET http://h:81/ HTTP/1.1"), 400, kMalformed},
      {"AbsoluteFormUser", "9110 4.2.4: userinfo is an error", line("GET http://u@h/ HTTP/1.1"),
       400, kMalformed},
  };
}

inline std::vector<HeadCase> host_requests() {
  return {
      {"NoHost", "9112 3.2: must be 400", get("X: y\r\n"), 400, kMalformed},
      {"NoFields", "9112 3.2", get(""), 400, kMalformed},
      {"TwoHosts", "9112 3.2: must be 400", get("Host: a\r\nHost: b\r\n"), 400, kMalformed},
      {"TwoEqualHosts", "9112 3.2: more than one line", get("Host: a\r\nhost: a\r\n"), 400,
       kMalformed},
      {"TwoHostsInHttp10", "9112 3.2", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400,
       kMalformed},
      {"EmptyHost", "9110 4.2.1", get("Host:\r\n"), 400, kMalformed},
      {"HostWithPath", "9110 7.2: invalid value is 400", get("Host: h/a\r\n"), 400, kMalformed},
      {"HostWithUser", "9110 7.2", get("Host: u@h\r\n"), 400, kMalformed},
      {"HostList", "9110 7.2: two readers, two hosts", get("Host: a, b\r\n"), 400, kMalformed},
      {"HostWithSpace", "9110 7.2", get("Host: a b\r\n"), 400, kMalformed},
      {"HostPortNotANumber", "9110 7.2", get("Host: h:80x\r\n"), 400, kMalformed},
      {"HostPortTooLarge", "9110 7.2", get("Host: h:65536\r\n"), 400, kMalformed},
      {"HostBracketOpen", "9110 7.2", get("Host: [::1\r\n"), 400, kMalformed},
      {"HostBareIpv6", "9110 7.2", get("Host: ::1\r\n"), 400, kMalformed},
      {"HostEscaped", "9110 7.2: decoded by some", get("Host: h%2eexample\r\n"), 400, kMalformed},
  };
}

inline std::vector<HeadCase> size_requests() {
  std::string many = "Host: h\r\n";
  for (int i = 0; i < 128; ++i) {
    many += "A: b\r\n";
  }
  return {
      {"ManyFields", "6585 5", get(many), 431, kHeadTooLarge},
      {"LongValue", "6585 5", get("Host: h\r\nA: " + std::string(70'000, 'a') + "\r\n"), 431,
       kHeadTooLarge},
      {"LongTarget", "6585 5", line("GET /" + std::string(70'000, 'a') + " HTTP/1.1"), 431,
       kHeadTooLarge},
      {"EndlessLine", "9112 2.2: no end within the bound", std::string(70'000, 'A'), 431,
       kHeadTooLarge},
  };
}

// From a backend. What is not accepted is answered with 503, code 101503.
inline std::vector<HeadCase> responses() {
  const int kStatus = 503;
  const int kCode = 101503;
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  return {
      {"Plain", "9112 4", ok + "\r\n", 0, 0},
      {"NoReason", "9112 4: the space may stand alone", "HTTP/1.1 204 \r\n\r\n", 0, 0},
      {"Http10", "9112 4", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 0, 0},
      {"SwitchingProtocols", "9110 15.2.2", "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
       0, 0},
      {"LengthAndChunked", "9112 6.3: response splitting",
       ok + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", kStatus, kCode},
      {"TwoLengths", "9112 6.3", ok + "Content-Length: 4\r\nContent-Length: 4\r\n\r\n", kStatus,
       kCode},
      {"OtherCoding", "9112 6.1", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", kStatus, kCode},
      {"BareLf", "9112 2.2", "HTTP/1.1 200 OK\n\n", kStatus, kCode},
      {"FoldedLine", "9112 5.2: a gateway may discard it", ok + "X: a\r\n b\r\n\r\n", kStatus,
       kCode},
      {"SpaceBeforeColon", "9112 5.1", ok + "X : a\r\n\r\n", kStatus, kCode},
      {"ControlInReason", "9112 4", "HTTP/1.1 200 O\x01\r\n\r\n", kStatus, kCode},
      {"StatusOfTwoDigits", "9112 4", "HTTP/1.1 20 OK\r\n\r\n", kStatus, kCode},
      {"StatusOfFourDigits", "9112 4", "HTTP/1.1 2000 OK\r\n\r\n", kStatus, kCode},
      {"StatusBelow100", "9110 15", "HTTP/1.1 099 OK\r\n\r\n", kStatus, kCode},
      {"OtherProtocol", "9112 4", "SSH-2.0-OpenSSH_9.2\r\n\r\n", kStatus, kCode},
      {"OtherVersion", "9110 2.5", "HTTP/2.0 200 OK\r\n\r\n", kStatus, kCode},
  };
}

}  // namespace sluice::conformance
