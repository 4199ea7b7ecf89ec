// The outcomes of a good handshake and the builders. What is refused is a table in
// tests/conformance.
#include "proxy/websocket/handshake.h"

#include <gtest/gtest.h>

#include "proxy/base/encoding.h"
#include "proxy/http/parse.h"

namespace sluice::websocket {
namespace {

constexpr std::string_view kKey = "dGhlIHNhbXBsZSBub25jZQ==";

TEST(Accept, OfTheRfcsExample) { EXPECT_EQ(accept_value(kKey), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); }

TEST(Key, Is16RandomBytes) {
  EXPECT_EQ(from_base64(make_key())->size(), 16u);
  EXPECT_NE(make_key(), make_key());
}

TEST(UpgradeRequest, IsUnderstood) {
  const auto parsed = http::parse_request_head(
      "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: h2c, WebSocket\r\nConnection: keep-alive, "
      "Upgrade\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
      65536);
  ASSERT_EQ(parsed.state, http::ParseState::kDone);
  const UpgradeRequest request = check_upgrade_request(parsed.head);
  EXPECT_EQ(request.outcome, UpgradeOutcome::kUpgrade) << request.fault;
  EXPECT_EQ(request.key, kKey);
  EXPECT_EQ(request.subprotocols, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.extensions.front().name, kPermessageDeflate);
}

TEST(UpgradeRequest, AsWeBuildItIsUnderstood) {
  http::RequestHead head;
  head.target = "/";
  head.headers.add("Host", "h");
  head.headers.add("Sec-WebSocket-Protocol", "old");
  head.headers.add("Sec-WebSocket-Extensions", "old");
  set_upgrade(head, kKey, {"new"}, {});
  const UpgradeRequest request = check_upgrade_request(head);
  EXPECT_EQ(request.outcome, UpgradeOutcome::kUpgrade) << request.fault;
  EXPECT_EQ(request.subprotocols, std::vector<std::string>{"new"});
  EXPECT_TRUE(request.extensions.empty());
  set_upgrade(head, kKey, {}, *parse_extensions(std::string_view("permessage-deflate")));
  EXPECT_TRUE(check_upgrade_request(head).subprotocols.empty());
  EXPECT_EQ(check_upgrade_request(head).extensions.size(), 1u);
}

TEST(UpgradeResponse, AsWeBuildItIsAccepted) {
  const Extensions offered =
      *parse_extensions(std::string_view("permessage-deflate; client_max_window_bits"));
  const Extensions accepted =
      *parse_extensions(std::string_view("permessage-deflate; client_max_window_bits=9"));
  const http::ResponseHead head = make_upgrade_response(kKey, "b", accepted);
  const auto parsed = http::parse_response_head(http::serialize(head), 65536);
  ASSERT_EQ(parsed.state, http::ParseState::kDone);
  const auto answer = check_upgrade_response(parsed.head, kKey, {"a", "b"}, offered);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->subprotocol, "b");
  EXPECT_EQ(answer->extensions, accepted);
}

TEST(UpgradeResponse, OfAnotherStatusIsARefusalToPassOn) {
  http::ResponseHead head;
  head.status = 403;
  EXPECT_EQ(check_upgrade_response(head, kKey, {}, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace sluice::websocket
