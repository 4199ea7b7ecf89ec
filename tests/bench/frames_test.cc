#include "tests/bench/frames.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/bench/handshake.h"

namespace sluice::bench {
namespace {

// Writes down what a reader says.
struct Notes {
  std::vector<FrameHeader> headers;
  std::string payload;
  int ends = 0;
  std::uint8_t stop_at = 0xff;

  bool on_header(const FrameHeader& header) {
    headers.push_back(header);
    return header.opcode != stop_at;
  }
  void on_payload(MutableBytes bytes, std::uint64_t at) {
    EXPECT_EQ(payload.size(), at);
    payload.append(as_text(bytes));
  }
  bool on_end() {
    ++ends;
    return true;
  }
};

MutableBytes writable(std::string& text) {
  return {reinterpret_cast<std::uint8_t*>(text.data()), text.size()};
}

TEST(Frames, HeaderSurvivesTheWireAtEveryLengthForm) {
  for (const std::uint64_t length : {0ULL, 125ULL, 126ULL, 65535ULL, 65536ULL, 1ULL << 40}) {
    for (const bool masked : {false, true}) {
      const FrameHeader in{.fin = false,
                           .opcode = kText,
                           .masked = masked,
                           .length = length,
                           .mask = {1, 2, 3, static_cast<std::uint8_t>(masked ? 4 : 0)}};
      std::array<std::uint8_t, kFrameHeaderBytesMax> raw{};
      const std::size_t size = encode_frame_header(in, raw.data());
      EXPECT_EQ(size, 2 + (length > 65535 ? 8 : length > 125 ? 2 : 0) + (masked ? 4U : 0U));
      const FrameHeader out = decode_frame_header(raw.data());
      EXPECT_FALSE(out.fin);
      EXPECT_EQ(out.opcode, kText);
      EXPECT_EQ(out.length, length);
      EXPECT_EQ(out.masked, masked);
      if (masked) {
        EXPECT_EQ(out.mask, in.mask);
      }
    }
  }
}

TEST(Frames, ReaderFindsAFrameHoweverItIsCut) {
  std::string wire;
  const std::string payload(300, 'p');
  append_frame({.opcode = kText, .length = payload.size()}, as_bytes(payload), wire);
  for (std::size_t step = 1; step <= wire.size(); ++step) {
    FrameReader reader;
    Notes notes;
    for (std::size_t at = 0; at < wire.size(); at += step) {
      std::string part = wire.substr(at, step);
      EXPECT_TRUE(reader.feed(writable(part), notes));
    }
    EXPECT_EQ(notes.headers.size(), 1U);
    EXPECT_EQ(notes.payload, payload);
    EXPECT_EQ(notes.ends, 1);
  }
}

TEST(Frames, ReaderStopsForGoodWhenTheSinkSaysSo) {
  std::string wire;
  append_frame({.opcode = kClose}, {}, wire);
  append_frame({.opcode = kText}, {}, wire);
  FrameReader reader;
  Notes notes;
  notes.stop_at = kClose;
  EXPECT_FALSE(reader.feed(writable(wire), notes));
  EXPECT_FALSE(reader.feed(writable(wire), notes));
  EXPECT_EQ(notes.headers.size(), 1U);
}

TEST(Frames, MaskAppliesFromAnyPhase) {
  const std::string text = "the quick brown fox jumps";
  const std::array<std::uint8_t, 4> mask{0x11, 0x22, 0x33, 0x44};
  std::string whole(text.size(), '\0');
  apply_mask(as_bytes(text), mask, 0, writable(whole).data());
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    std::string parts(text.size(), '\0');
    apply_mask(as_bytes(text).first(cut), mask, 0, writable(parts).data());
    apply_mask(as_bytes(text).subspan(cut), mask, cut, writable(parts).data() + cut);
    EXPECT_EQ(parts, whole);
  }
  EXPECT_EQ(whole[5], static_cast<char>(text[5] ^ 0x22));
}

TEST(Handshake, AcceptValueIsThatOfTheRfc) {
  EXPECT_EQ(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(Handshake, HeadersAreFoundInAnyCase) {
  const std::string head = "HTTP/1.1 101 Yes\r\nA: b\r\nsec-websocket-ACCEPT:  x \r\n\r\n";
  EXPECT_EQ(head_size(head + "rest"), head.size());
  EXPECT_EQ(head_size(head.substr(0, head.size() - 1)), std::nullopt);
  EXPECT_EQ(header_value(head, "Sec-WebSocket-Accept"), "x");
  EXPECT_EQ(header_value(head, "B"), "");
  EXPECT_EQ(status_of(head), 101);
  EXPECT_EQ(status_of("SSH-2.0\r\n\r\n"), 0);
}

}  // namespace
}  // namespace sluice::bench
