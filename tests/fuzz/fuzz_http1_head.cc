// HTTP/1 heads and what is taken from them: no crash, the same answer however the bytes are cut,
// and no accepted head that another reader could see differently.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/base/bytes.h"
#include "proxy/base/check.h"
#include "proxy/http/body.h"
#include "proxy/http/parse.h"
#include "proxy/http/target.h"
#include "proxy/websocket/handshake.h"

namespace sluice::http {
namespace {

constexpr std::size_t kHeadMax = 2048;
constexpr std::size_t kRoomy = 1 << 20;  // a head written again may be longer than it came

template <typename Parse>
using Parser = Parse (*)(std::string_view, std::size_t, HeadScanner&);

// Gives the parser ever longer prefixes and compares with the answer to all bytes at once.
template <typename Parse>
void check_cuts(std::string_view bytes, std::size_t piece, Parser<Parse> parse,
                const Parse& whole) {
  HeadScanner scanner;
  for (std::size_t size = 0;; size = std::min(size + piece, bytes.size())) {
    const Parse part = parse(bytes.substr(0, size), kHeadMax, scanner);
    if (part.state == ParseState::kNeedMore) {
      SLUICE_CHECK(size < bytes.size() || whole.state == ParseState::kNeedMore);
      SLUICE_CHECK(whole.state != ParseState::kDone || size < whole.consumed);
    } else {
      SLUICE_CHECK(part.state == whole.state);
      SLUICE_CHECK(part.consumed == whole.consumed);
      SLUICE_CHECK(serialize(part.head) == serialize(whole.head));
      return;
    }
    if (size == bytes.size()) {
      return;
    }
  }
}

// Judged from the bytes alone, without the parser's ideas.
void check_unambiguous(std::string_view head) {
  SLUICE_CHECK(head.size() <= kHeadMax && head.ends_with("\r\n\r\n"));
  for (std::size_t i = 0; i < head.size(); ++i) {
    const char c = head[i];
    SLUICE_CHECK(c != 0);
    SLUICE_CHECK(c != '\n' || (i > 0 && head[i - 1] == '\r'));
    SLUICE_CHECK(c != '\r' || (i + 1 < head.size() && head[i + 1] == '\n'));
    SLUICE_CHECK(c != '\n' || i + 1 == head.size() || (head[i + 1] != ' ' && head[i + 1] != '\t'));
  }
  SLUICE_CHECK(head.find("\r\n\r\n") == head.size() - 4);
}

void check_framing(const Headers& headers) {
  const std::size_t lengths = headers.count("Content-Length");
  const std::size_t codings = headers.count("Transfer-Encoding");
  SLUICE_CHECK(lengths + codings <= 1);
  for (const Headers::Field field : headers) {
    SLUICE_CHECK(is_token(field.name));
    SLUICE_CHECK(valid_value(field.value));
  }
}

void check_target(const RequestHead& head) {
  SLUICE_CHECK(head.target.starts_with('/'));
  const auto target = parse_target(head.target);
  if (!target.ok()) {
    return;
  }
  SLUICE_CHECK(target->path.starts_with('/'));
  SLUICE_CHECK(target->path.find("//") == std::string::npos);
  SLUICE_CHECK((target->path + "/").find("/../") == std::string::npos);
  SLUICE_CHECK((target->path + "/").find("/./") == std::string::npos);
  const auto again = parse_target(target->path);
  SLUICE_CHECK(again.ok() && again->path == target->path);
  const std::string left = remove_parameter(target->query, "access_token");
  SLUICE_CHECK(query_values(left, "access_token").empty());
  SLUICE_CHECK(remove_parameter(left, "access_token") == left);
  if (query_values(target->query, "access_token").empty()) {
    SLUICE_CHECK(left == target->query);
  }
  if (const auto form = parse_form(target->query); form.ok()) {
    const auto written = parse_form(format_form(*form));
    SLUICE_CHECK(written.ok());
  }
}

void check_handshake(const RequestHead& head) {
  const auto request = websocket::check_upgrade_request(head);
  SLUICE_CHECK(request.fault.empty() ==
               (request.outcome == websocket::UpgradeOutcome::kUpgrade ||
                request.outcome == websocket::UpgradeOutcome::kNotUpgrade));
  if (request.outcome == websocket::UpgradeOutcome::kUpgrade) {
    const auto again =
        websocket::parse_extensions(websocket::format_extensions(request.extensions));
    SLUICE_CHECK(again && *again == request.extensions);
  }
}

void check_request(std::string_view bytes, std::size_t piece) {
  const RequestParse whole = parse_request_head(bytes, kHeadMax);
  check_cuts<RequestParse>(bytes, piece, parse_request_head, whole);
  if (whole.state == ParseState::kError) {
    SLUICE_CHECK(whole.error.status >= 400 && whole.error.code != 0 && !whole.error.text.empty());
  }
  if (whole.state != ParseState::kDone) {
    return;
  }
  check_unambiguous(bytes.substr(0, whole.consumed));
  check_framing(whole.head.headers);
  check_target(whole.head);
  check_handshake(whole.head);
  SLUICE_CHECK(whole.head.headers.count("Host") <= 1);
  if (whole.head.headers.has("Host")) {
    const std::string written = serialize(whole.head);
    const RequestParse again = parse_request_head(written, kRoomy);
    // What HTTP/1.0 may carry and 1.1 may not, or the reverse, is nothing that passed here.
    SLUICE_CHECK(again.state == ParseState::kDone && again.consumed == written.size());
    SLUICE_CHECK(again.head.method == whole.head.method);
    SLUICE_CHECK(again.head.target == whole.head.target);
    SLUICE_CHECK(again.head.headers == whole.head.headers);
  }
  Headers end_to_end = whole.head.headers;
  remove_hop_by_hop(end_to_end);
  SLUICE_CHECK(end_to_end.count("Host") == whole.head.headers.count("Host"));
  SLUICE_CHECK(!end_to_end.has("Connection") && !end_to_end.has("Transfer-Encoding"));
}

void check_response(std::string_view bytes, std::size_t piece) {
  const ResponseParse whole = parse_response_head(bytes, kHeadMax);
  check_cuts<ResponseParse>(bytes, piece, parse_response_head, whole);
  if (whole.state != ParseState::kDone) {
    return;
  }
  check_unambiguous(bytes.substr(0, whole.consumed));
  check_framing(whole.head.headers);
  const ResponseParse again = parse_response_head(serialize(whole.head), kRoomy);
  SLUICE_CHECK(again.state == ParseState::kDone && again.head.status == whole.head.status);
  SLUICE_CHECK(again.head.headers == whole.head.headers);
}

struct Decoded {
  ParseState state = ParseState::kNeedMore;
  std::size_t consumed = 0;
  std::string body;
};

Decoded decode(std::string_view bytes, std::size_t piece) {
  Decoded out;
  BodyReader reader({BodyFraming::kChunked, 0}, kHeadMax);
  while (out.state == ParseState::kNeedMore && out.consumed < bytes.size()) {
    std::size_t consumed = 0;
    out.state = reader.read(bytes.substr(out.consumed, piece), consumed);
    out.consumed += consumed;
  }
  out.body = reader.body();
  return out;
}

void check_chunks(std::string_view bytes, std::size_t piece) {
  const Decoded whole = decode(bytes, bytes.size());
  const Decoded cut = decode(bytes, piece);
  SLUICE_CHECK(whole.state == cut.state);
  if (whole.state == ParseState::kDone) {
    SLUICE_CHECK(whole.consumed == cut.consumed && whole.body == cut.body);
    std::string written = whole.body.empty() ? "" : make_chunk(whole.body);
    written += kLastChunk;
    const Decoded again = decode(written, written.size());
    SLUICE_CHECK(again.state == ParseState::kDone && again.body == whole.body);
  }
}

}  // namespace
}  // namespace sluice::http

// The first byte is the size of the pieces; the rest is the message.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::size_t piece = data[0] % 32 + 1;
  const std::string_view bytes = sluice::as_text({data + 1, size - 1});
  sluice::http::check_request(bytes, piece);
  sluice::http::check_response(bytes, piece);
  sluice::http::check_chunks(bytes, piece);
  return 0;
}
