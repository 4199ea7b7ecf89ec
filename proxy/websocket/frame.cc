#include "proxy/websocket/frame.h"

#include <cstring>

#include "proxy/websocket/close.h"
#include "proxy/websocket/utf8.h"

namespace sluice::websocket {

std::string_view head_fault(ByteView bytes) {
  FrameHead head;
  if (parse_frame_head(bytes, head) != FrameParse::kError) {
    return "";
  }
  const std::uint8_t opcode = bytes[0] & 15;
  if (opcode > 10 || (opcode > 2 && opcode < 8)) {
    return "reserved opcode";
  }
  const bool wide = (bytes[1] & 0x7f) == 127;
  return wide && (bytes[2] & 0x80) != 0 ? "frame length of 2^63 or more"
                                        : "frame length not in its shortest form";
}

std::size_t write_frame_head(std::uint8_t* out, const FrameHead& head) {
  out[0] = static_cast<std::uint8_t>((head.fin ? 0x80 : 0) | (head.rsv & 7) << 4 |
                                     static_cast<std::uint8_t>(head.opcode));
  const std::uint8_t mask_bit = head.masked ? 0x80 : 0;
  int length_bytes = 0;
  if (head.payload_bytes < 126) {
    out[1] = static_cast<std::uint8_t>(mask_bit | head.payload_bytes);
  } else if (head.payload_bytes < 65536) {
    out[1] = mask_bit | 126;
    length_bytes = 2;
  } else {
    out[1] = mask_bit | 127;
    length_bytes = 8;
  }
  std::size_t size = 2;
  for (int shift = 8 * (length_bytes - 1); shift >= 0; shift -= 8) {
    out[size++] = static_cast<std::uint8_t>(head.payload_bytes >> shift);
  }
  if (head.masked) {
    std::memcpy(out + size, head.mask.data(), head.mask.size());
    size += head.mask.size();
  }
  return size;
}

void apply_mask(MutableBytes bytes, const MaskKey& mask, std::size_t offset) {
  // The key as it falls on an eight-byte word that begins at `offset`.
  std::array<std::uint8_t, 8> turned{};
  for (std::size_t i = 0; i < turned.size(); ++i) {
    turned[i] = mask[(offset + i) & 3];
  }
  std::uint64_t key = 0;
  std::memcpy(&key, turned.data(), sizeof(key));
  std::uint8_t* p = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= sizeof(key); left -= sizeof(key), p += sizeof(key)) {
    std::uint64_t word = 0;
    std::memcpy(&word, p, sizeof(word));
    word ^= key;
    std::memcpy(p, &word, sizeof(word));
  }
  for (std::size_t i = 0; i < left; ++i) {
    p[i] ^= turned[i];
  }
}

std::string make_frame(Opcode opcode, std::string_view payload, bool fin,
                       std::optional<MaskKey> mask) {
  FrameHead head;
  head.fin = fin;
  head.opcode = opcode;
  head.masked = mask.has_value();
  head.mask = mask.value_or(MaskKey{});
  head.payload_bytes = payload.size();
  std::array<std::uint8_t, kFrameHeadBytesMax> buffer{};
  const std::size_t head_bytes = write_frame_head(buffer.data(), head);
  std::string out;
  out.reserve(head_bytes + payload.size());
  out.append(as_text(ByteView(buffer.data(), head_bytes))).append(payload);
  if (mask) {
    auto* begin = reinterpret_cast<std::uint8_t*>(out.data());
    apply_mask({begin + head_bytes, payload.size()}, *mask);
  }
  return out;
}

std::string make_close(std::uint16_t code, std::string_view reason, std::optional<MaskKey> mask) {
  std::string payload;
  if (code != 0 && code != close_code::kNoStatus) {
    payload += static_cast<char>(code >> 8);
    payload += static_cast<char>(code & 0xff);
    payload += cut_utf8(reason, kControlPayloadBytesMax - 2);
  }
  return make_frame(Opcode::kClose, payload, true, mask);
}

}  // namespace sluice::websocket
