#include "tests/bench/frames.h"

namespace sluice::bench {
namespace {

constexpr std::uint8_t kLength16 = 126;
constexpr std::uint8_t kLength64 = 127;

std::uint64_t read_big_endian(const std::uint8_t* bytes, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) {
    value = value << 8 | bytes[i];
  }
  return value;
}

void write_big_endian(std::uint64_t value, std::size_t size, std::uint8_t* out) {
  for (std::size_t i = size; i-- > 0; value >>= 8) {
    out[i] = static_cast<std::uint8_t>(value);
  }
}

std::size_t length_bytes(std::uint8_t second) {
  const std::uint8_t length = second & 0x7f;
  return length == kLength16 ? 2 : length == kLength64 ? 8 : 0;
}

}  // namespace

std::size_t frame_header_size(std::uint8_t second) {
  return 2 + length_bytes(second) + ((second & 0x80) != 0 ? 4 : 0);
}

FrameHeader decode_frame_header(const std::uint8_t* bytes) {
  FrameHeader header;
  header.fin = (bytes[0] & 0x80) != 0;
  header.reserved = bytes[0] >> 4 & 7;
  header.opcode = bytes[0] & 0xf;
  header.masked = (bytes[1] & 0x80) != 0;
  const std::size_t extra = length_bytes(bytes[1]);
  header.length = extra == 0 ? bytes[1] & 0x7f : read_big_endian(bytes + 2, extra);
  if (header.masked) {
    std::memcpy(header.mask.data(), bytes + 2 + extra, header.mask.size());
  }
  return header;
}

std::size_t encode_frame_header(const FrameHeader& header, std::uint8_t* out) {
  out[0] =
      static_cast<std::uint8_t>((header.fin ? 0x80 : 0) | header.reserved << 4 | header.opcode);
  const std::uint8_t small = header.length < kLength16 ? static_cast<std::uint8_t>(header.length)
                             : header.length <= 0xffff ? kLength16
                                                       : kLength64;
  out[1] = static_cast<std::uint8_t>((header.masked ? 0x80 : 0) | small);
  const std::size_t extra = length_bytes(small);
  write_big_endian(header.length, extra, out + 2);
  if (header.masked) {
    std::memcpy(out + 2 + extra, header.mask.data(), header.mask.size());
  }
  return frame_header_size(out[1]);
}

void apply_mask(ByteView in, const std::array<std::uint8_t, 4>& mask, std::uint64_t phase,
                std::uint8_t* out) {
  std::array<std::uint8_t, 8> key;
  for (std::size_t i = 0; i < key.size(); ++i) {
    key[i] = mask[(phase + i) % mask.size()];
  }
  std::uint64_t wide = 0;
  std::memcpy(&wide, key.data(), sizeof(wide));
  std::size_t i = 0;
  for (; i + sizeof(wide) <= in.size(); i += sizeof(wide)) {
    std::uint64_t word = 0;
    std::memcpy(&word, in.data() + i, sizeof(word));
    word ^= wide;
    std::memcpy(out + i, &word, sizeof(word));
  }
  for (; i < in.size(); ++i) {
    out[i] = in[i] ^ key[i % key.size()];
  }
}

void append_frame(const FrameHeader& header, ByteView payload, std::string& out) {
  std::array<std::uint8_t, kFrameHeaderBytesMax> raw;
  const std::size_t size = encode_frame_header(header, raw.data());
  const std::size_t at = out.size();
  out.resize(at + size + payload.size());
  auto* to = reinterpret_cast<std::uint8_t*>(out.data()) + at;
  std::memcpy(to, raw.data(), size);
  if (header.masked) {
    apply_mask(payload, header.mask, 0, to + size);
  } else if (!payload.empty()) {
    std::memcpy(to + size, payload.data(), payload.size());
  }
}

std::string close_payload(std::uint16_t code, std::string_view reason) {
  std::string payload{static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
  payload.append(reason.substr(0, kControlPayloadBytesMax - payload.size()));
  return payload;
}

}  // namespace sluice::bench
