// Holds the tables of websocket_cases.h against the handshake rules and the frame codecs.
#include <gtest/gtest.h>

#include "proxy/base/limits.h"
#include "proxy/http/parse.h"
#include "proxy/websocket/close.h"
#include "proxy/websocket/reader.h"
#include "tests/conformance/websocket_cases.h"

namespace sluice::conformance {
namespace {

constexpr std::string_view kKey = "dGhlIHNhbXBsZSBub25jZQ==";

template <typename Case>
std::string name(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

class HandshakeRequests : public testing::TestWithParam<RequestCase> {};

TEST_P(HandshakeRequests, HaveTheOutcomeOfTheTable) {
  const RequestCase& c = GetParam();
  const auto parse = http::parse_request_head(c.bytes, limits::kRequestHeadBytesMax);
  ASSERT_EQ(parse.state, http::ParseState::kDone) << parse.error.text;
  const auto request = websocket::check_upgrade_request(parse.head);
  EXPECT_EQ(request.outcome, c.outcome) << c.rule << ": " << request.fault;
  const bool told = c.outcome == websocket::UpgradeOutcome::kMalformed ||
                    c.outcome == websocket::UpgradeOutcome::kOtherVersion;
  EXPECT_EQ(!request.fault.empty(), told);
}

INSTANTIATE_TEST_SUITE_P(Client, HandshakeRequests, testing::ValuesIn(handshake_requests()),
                         name<RequestCase>);

class HandshakeResponses : public testing::TestWithParam<ResponseCase> {};

TEST_P(HandshakeResponses, AreGenuineAsTheTableSays) {
  const ResponseCase& c = GetParam();
  const auto parse = http::parse_response_head(c.bytes, limits::kResponseHeadBytesMax);
  ASSERT_EQ(parse.state, http::ParseState::kDone) << parse.error.text;
  const auto offered = websocket::parse_extensions(std::string_view(c.extensions));
  ASSERT_TRUE(offered);
  const auto answer = websocket::check_upgrade_response(parse.head, kKey, {"a", "b"}, *offered);
  EXPECT_EQ(answer.ok(), c.genuine) << c.rule << ": " << answer.status();
}

INSTANTIATE_TEST_SUITE_P(Server, HandshakeResponses, testing::ValuesIn(handshake_responses()),
                         name<ResponseCase>);

class Frames : public testing::TestWithParam<FrameCase> {};

TEST_P(Frames, GiveTheMessagesOfTheTable) {
  const FrameCase& c = GetParam();
  for (const std::size_t piece : {c.bytes.size(), std::size_t{1}}) {
    websocket::MessageReader reader(c.from, limits::kMessageBytesMax, c.deflate);
    std::vector<websocket::Message> out;
    for (std::size_t at = 0; at < c.bytes.size(); at += piece) {
      if (!reader.read(as_bytes(std::string_view(c.bytes).substr(at, piece)), out)) {
        break;
      }
    }
    EXPECT_EQ(reader.fault_code(), c.close_code) << c.rule << ": " << reader.fault();
    EXPECT_EQ(out.size(), static_cast<std::size_t>(c.messages)) << c.rule;
    EXPECT_TRUE(reader.idle() || c.close_code != 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Good, Frames, testing::ValuesIn(good_frames()), name<FrameCase>);
INSTANTIATE_TEST_SUITE_P(Bad, Frames, testing::ValuesIn(bad_frames()), name<FrameCase>);

std::string close_payload(int code) { return bytes({code >> 8, code & 0xff}); }

TEST(CloseCodes, MayBeSentAsTheTableSays) {
  for (const int code : good_close_codes()) {
    EXPECT_TRUE(websocket::parse_close(close_payload(code))) << code;
  }
  for (const int code : bad_close_codes()) {
    EXPECT_FALSE(websocket::parse_close(close_payload(code))) << code;
  }
}

TEST(Opcodes, AreReservedAsTheRfcSays) {
  for (int opcode = 0; opcode < 16; ++opcode) {
    const bool known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
    websocket::FrameHead head;
    const auto parsed = websocket::parse_frame_head(as_bytes(bytes({0x80 | opcode, 0})), head);
    EXPECT_EQ(parsed == websocket::FrameParse::kDone, known) << opcode << ": 6455 5.2, A 4";
  }
}

}  // namespace
}  // namespace sluice::conformance
