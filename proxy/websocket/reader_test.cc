#include "proxy/websocket/reader.h"

#include <gtest/gtest.h>

#include "proxy/websocket/close.h"

namespace sluice::websocket {
namespace {

constexpr MaskKey kMask{0xde, 0xad, 0xbe, 0xef};

TEST(MessageReader, GivesTheSameMessagesHoweverTheBytesAreCut) {
  const std::string bytes =
      make_frame(Opcode::kText, "Hel", false, kMask) + make_frame(Opcode::kPing, "p", true, kMask) +
      make_frame(Opcode::kContinuation, "lo \xc3", false, kMask) +
      make_frame(Opcode::kContinuation, "\xa9", true, kMask) +
      make_frame(Opcode::kBinary, std::string(70'000, 'b'), true, kMask) +
      make_frame(Opcode::kBinary, "", true, kMask) + make_close(1000, "bye", kMask);
  const std::vector<Message> expected = {
      {Opcode::kPing, false, "p"},
      {Opcode::kText, false, "Hello \xc3\xa9"},
      {Opcode::kBinary, false, std::string(70'000, 'b')},
      {Opcode::kBinary, false, ""},
      {Opcode::kClose, false,
       "\x03\xe8"
       "bye"},
  };
  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{3}, std::size_t{1000}, bytes.size()}) {
    MessageReader reader(From::kClient);
    std::vector<Message> out;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      ASSERT_TRUE(reader.read(as_bytes(std::string_view(bytes).substr(at, piece)), out))
          << reader.fault();
    }
    EXPECT_EQ(out, expected);
    EXPECT_TRUE(reader.closed());
    EXPECT_TRUE(reader.idle());
    EXPECT_TRUE(reader.read(as_bytes("whatever follows"), out));
    EXPECT_EQ(out.size(), expected.size());
  }
}

TEST(MessageReader, FailsWithTheRightCode) {
  const struct {
    std::string bytes;
    std::uint16_t code;
  } cases[] = {
      {std::string("\x83\x00", 2), close_code::kProtocolError},
      {make_frame(Opcode::kText, "x", true, kMask), close_code::kProtocolError},  // server masks
      {make_frame(Opcode::kContinuation, "x"), close_code::kProtocolError},
      {make_frame(Opcode::kPing, std::string(126, 'x')), close_code::kProtocolError},
      {make_frame(Opcode::kClose, "\x03"), close_code::kProtocolError},
      {make_frame(Opcode::kClose, "\x03\xed"), close_code::kProtocolError},
      {make_frame(Opcode::kText, "\xff"), close_code::kInvalidPayload},
      {make_frame(Opcode::kText, "\xc3"), close_code::kInvalidPayload},
      {make_frame(Opcode::kText, "\xed\xa0", false), close_code::kInvalidPayload},
      {make_frame(Opcode::kBinary, std::string(11, 'x')), close_code::kTooBig},
      {make_frame(Opcode::kBinary, std::string(6, 'x'), false) +
           make_frame(Opcode::kContinuation, std::string(5, 'x')),
       close_code::kTooBig},
      {std::string("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10), close_code::kTooBig},
  };
  for (const auto& c : cases) {
    MessageReader reader(From::kServer, 10);
    std::vector<Message> out;
    EXPECT_TRUE(reader.read(as_bytes(make_frame(Opcode::kText, "good")), out));
    EXPECT_FALSE(reader.read(as_bytes(c.bytes), out));
    EXPECT_EQ(reader.fault_code(), c.code) << reader.fault();
    EXPECT_FALSE(reader.fault().empty());
    EXPECT_EQ(out.size(), 1u) << "what came before the fault is kept";
    EXPECT_FALSE(reader.read(as_bytes(make_frame(Opcode::kText, "good")), out)) << "stays failed";
  }
}

TEST(MessageReader, PassesCompressedMessagesAsTheyAre) {
  std::string frame = make_frame(Opcode::kText, "\xf2\x48\xcd\xc9\xc9\x07");  // not UTF-8
  frame[0] |= 0x40;
  MessageReader reader(From::kServer, 100, true);
  std::vector<Message> out;
  ASSERT_TRUE(reader.read(as_bytes(frame), out)) << reader.fault();
  EXPECT_TRUE(out[0].compressed);
  EXPECT_FALSE(MessageReader(From::kServer, 100).read(as_bytes(frame), out));
}

TEST(MessageReader, IsIdleBetweenMessagesAlone) {
  MessageReader reader(From::kServer);
  std::vector<Message> out;
  EXPECT_TRUE(reader.idle());
  const std::string frame = make_frame(Opcode::kText, "ab", false);
  for (std::size_t i = 0; i < frame.size(); ++i) {
    ASSERT_TRUE(reader.read(as_bytes(frame).subspan(i, 1), out));
    EXPECT_FALSE(reader.idle());
  }
  ASSERT_TRUE(reader.read(as_bytes(make_frame(Opcode::kContinuation, "")), out));
  EXPECT_TRUE(reader.idle());
}

}  // namespace
}  // namespace sluice::websocket
