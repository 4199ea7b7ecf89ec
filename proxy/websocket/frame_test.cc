#include "proxy/websocket/frame.h"

#include <gtest/gtest.h>

#include "proxy/websocket/close.h"

namespace sluice::websocket {
namespace {

std::string written(const FrameHead& head) {
  std::array<std::uint8_t, kFrameHeadBytesMax> out{};
  const std::size_t size = write_frame_head(out.data(), head);
  return std::string(as_text(ByteView(out.data(), size)));
}

TEST(FrameHead, IsReadAsItWasWrittenAtEveryLengthForm) {
  for (const std::uint64_t length :
       {0ull, 1ull, 125ull, 126ull, 65535ull, 65536ull, 1ull << 40, (1ull << 63) - 1}) {
    for (const bool masked : {false, true}) {
      FrameHead head;
      head.fin = masked;
      head.rsv = masked ? kRsv1 : kRsv2 | kRsv3;
      head.opcode = masked ? Opcode::kContinuation : Opcode::kPong;
      head.masked = masked;
      head.mask = masked ? MaskKey{1, 2, 3, 4} : MaskKey{};
      head.payload_bytes = length;
      const std::string bytes = written(head);
      head.head_bytes = static_cast<std::uint8_t>(bytes.size());
      FrameHead read;
      for (std::size_t size = 0; size < bytes.size(); ++size) {
        EXPECT_EQ(parse_frame_head(as_bytes(bytes).first(size), read), FrameParse::kNeedMore);
      }
      ASSERT_EQ(parse_frame_head(as_bytes(bytes + "payload"), read), FrameParse::kDone);
      EXPECT_EQ(read, head) << length;
    }
  }
}

TEST(FrameHead, OfRfc6455Examples) {
  FrameHead head;
  const std::string masked_hello("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
  ASSERT_EQ(parse_frame_head(as_bytes(masked_hello), head), FrameParse::kDone);
  EXPECT_TRUE(head.fin);
  EXPECT_EQ(head.opcode, Opcode::kText);
  EXPECT_EQ(head.payload_bytes, 5u);
  EXPECT_EQ(head.head_bytes, 6u);
  std::string payload = masked_hello.substr(6);
  apply_mask({reinterpret_cast<std::uint8_t*>(payload.data()), 5}, head.mask);
  EXPECT_EQ(payload, "Hello");
  EXPECT_EQ(make_frame(Opcode::kText, "Hello", true, MaskKey{0x37, 0xfa, 0x21, 0x3d}),
            masked_hello);
  EXPECT_EQ(make_frame(Opcode::kText, "Hel", false), std::string("\x01\x03Hel"));
}

TEST(FrameHead, IsRefusedWithAReason) {
  const struct {
    std::string bytes;
    std::string_view fault;
  } cases[] = {
      {"\x83" + std::string(1, '\0'), "reserved opcode"},
      {"\x8f" + std::string(1, '\0'), "reserved opcode"},
      {std::string("\x82\x7e\x00\x7d", 4), "frame length not in its shortest form"},
      {std::string("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", 10),
       "frame length not in its shortest form"},
      {std::string("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", 10), "frame length of 2^63 or more"},
      {std::string("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10), "frame length of 2^63 or more"},
  };
  for (const auto& c : cases) {
    FrameHead head;
    EXPECT_EQ(parse_frame_head(as_bytes(c.bytes), head), FrameParse::kError);
    EXPECT_EQ(head, FrameHead{});
    EXPECT_EQ(head_fault(as_bytes(c.bytes)), c.fault);
  }
  EXPECT_EQ(head_fault(as_bytes("\x82")), "");
}

TEST(Mask, AppliesAtAnyOffsetAndLength) {
  const MaskKey mask{0x11, 0x22, 0x44, 0x88};
  for (std::size_t size = 0; size < 70; ++size) {
    for (std::size_t offset = 0; offset < 9; ++offset) {
      std::string text(size, 'a');
      apply_mask({reinterpret_cast<std::uint8_t*>(text.data()), size}, mask, offset);
      for (std::size_t i = 0; i < size; ++i) {
        ASSERT_EQ(static_cast<unsigned char>(text[i]), 'a' ^ mask[(offset + i) % 4]);
      }
    }
  }
}

TEST(MakeClose, CutsTheReasonBetweenCharacters) {
  EXPECT_EQ(make_close(1000, "bye"), std::string("\x88\x05\x03\xe8") + "bye");
  EXPECT_EQ(make_close(0), std::string("\x88\x00", 2));
  EXPECT_EQ(make_close(1005, "x"), std::string("\x88\x00", 2));
  std::string reason(122, 'a');
  reason += "\xc3\xa9";  // its first byte would be the 123rd
  const std::string frame = make_close(4001, reason);
  EXPECT_EQ(frame.size(), 2u + 2u + 122u);
  const auto close = parse_close(std::string_view(frame).substr(2));
  ASSERT_TRUE(close);
  EXPECT_EQ(close->code, 4001);
  EXPECT_EQ(close->reason, std::string(122, 'a'));
  EXPECT_EQ(make_close(4001, std::string(200, 'b'), MaskKey{}).size(), 2u + 4u + 125u);
}

}  // namespace
}  // namespace sluice::websocket
