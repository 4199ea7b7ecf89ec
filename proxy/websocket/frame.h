// WebSocket frames (RFC 6455 section 5): heads in place, masks, whole frames.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/base/bytes.h"

namespace sluice::websocket {

enum class Opcode : std::uint8_t {
  kContinuation = 0,
  kText = 1,
  kBinary = 2,
  kClose = 8,
  kPing = 9,
  kPong = 10,
};

inline bool is_control(Opcode opcode) { return (static_cast<std::uint8_t>(opcode) & 8) != 0; }

using MaskKey = std::array<std::uint8_t, 4>;

inline constexpr std::size_t kFrameHeadBytesMax = 14;
inline constexpr std::size_t kControlPayloadBytesMax = 125;

inline constexpr std::uint8_t kRsv1 = 4;
inline constexpr std::uint8_t kRsv2 = 2;
inline constexpr std::uint8_t kRsv3 = 1;

struct FrameHead {
  bool fin = true;
  std::uint8_t rsv = 0;  // kRsv1 | kRsv2 | kRsv3
  Opcode opcode = Opcode::kText;
  bool masked = false;
  MaskKey mask{};  // zero if not masked
  std::uint64_t payload_bytes = 0;
  std::uint8_t head_bytes = 0;  // set by the parser; not read by the writer

  bool operator==(const FrameHead&) const = default;
};

enum class FrameParse : std::uint8_t { kNeedMore, kDone, kError };

// Reads the frame head at the front of `bytes`. kError: a reserved opcode, a length not in its
// shortest form, or one of 2^63 and more; head_fault() says which. What depends on the connection
// (RSV bits, masking, order, control frames) is MessageTracker's. `out` is written on kDone alone.
inline FrameParse parse_frame_head(ByteView bytes, FrameHead& out) {
  const std::size_t size = bytes.size();
  if (size < 2) {
    return FrameParse::kNeedMore;
  }
  const std::uint8_t* p = bytes.data();
  const std::uint8_t b0 = p[0];
  const std::uint8_t b1 = p[1];
  constexpr std::uint16_t kOpcodes = 0b0000'0111'0000'0111;
  if (((kOpcodes >> (b0 & 15)) & 1) == 0) [[unlikely]] {
    return FrameParse::kError;
  }
  const bool masked = (b1 & 0x80) != 0;
  std::uint64_t length = b1 & 0x7f;
  std::size_t head = 2;
  if (length >= 126) {
    head = length == 126 ? 4 : 10;
    if (size < head) {
      return FrameParse::kNeedMore;
    }
    std::uint64_t value = 0;
    for (std::size_t i = 2; i < head; ++i) {
      value = value << 8 | p[i];
    }
    const std::uint64_t least = length == 126 ? 126 : 65536;
    if (value < least || (value >> 63) != 0) [[unlikely]] {
      return FrameParse::kError;
    }
    length = value;
  }
  if (masked) {
    if (size < head + 4) {
      return FrameParse::kNeedMore;
    }
    out.mask = {p[head], p[head + 1], p[head + 2], p[head + 3]};
    head += 4;
  } else {
    out.mask = {};
  }
  out.fin = (b0 & 0x80) != 0;
  out.rsv = (b0 >> 4) & 7;
  out.opcode = static_cast<Opcode>(b0 & 15);
  out.masked = masked;
  out.payload_bytes = length;
  out.head_bytes = static_cast<std::uint8_t>(head);
  return FrameParse::kDone;
}

// Why parse_frame_head answered kError for `bytes`.
std::string_view head_fault(ByteView bytes);

// Writes the head in its shortest form to `out`, which has room for kFrameHeadBytesMax; returns its
// size.
std::size_t write_frame_head(std::uint8_t* out, const FrameHead& head);

// Masks or unmasks in place; `offset`: where `bytes` begins in the frame's payload.
void apply_mask(MutableBytes bytes, const MaskKey& mask, std::size_t offset = 0);

// A whole frame.
std::string make_frame(Opcode opcode, std::string_view payload, bool fin = true,
                       std::optional<MaskKey> mask = std::nullopt);

// A close frame. Code 0 (or 1005): without payload. The reason is cut to 123 bytes at the edge of a
// UTF-8 character.
std::string make_close(std::uint16_t code, std::string_view reason = "",
                       std::optional<MaskKey> mask = std::nullopt);

}  // namespace sluice::websocket
