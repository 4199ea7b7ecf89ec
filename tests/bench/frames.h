// RFC 6455 section 5.2: frame headers and masks, and a reader that takes a byte stream apart
// without keeping payloads. Sans-I/O; written for the bench alone, so that it judges Sluice's own
// codec by another's hand.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>

#include "proxy/base/bytes.h"

namespace sluice::bench {

inline constexpr std::size_t kFrameHeaderBytesMax = 14;
inline constexpr std::size_t kControlPayloadBytesMax = 125;

enum Opcode : std::uint8_t {
  kContinuation = 0,
  kText = 1,
  kBinary = 2,
  kClose = 8,
  kPing = 9,
  kPong = 10,
};

struct FrameHeader {
  bool fin = true;
  std::uint8_t reserved = 0;  // the three RSV bits
  std::uint8_t opcode = kBinary;
  bool masked = false;
  std::uint64_t length = 0;
  std::array<std::uint8_t, 4> mask{};
};

// How many bytes a header has whose second byte is `second`.
std::size_t frame_header_size(std::uint8_t second);

// Reads a whole header.
FrameHeader decode_frame_header(const std::uint8_t* bytes);

// Writes `header` in its shortest form to `out`, which has room for kFrameHeaderBytesMax; returns
// its size.
std::size_t encode_frame_header(const FrameHeader& header, std::uint8_t* out);

// out[i] = in[i] xor mask[(phase + i) mod 4]. `out` may be `in`.
void apply_mask(ByteView in, const std::array<std::uint8_t, 4>& mask, std::uint64_t phase,
                std::uint8_t* out);

// Appends one frame; masks the payload where the header says so.
void append_frame(const FrameHeader& header, ByteView payload, std::string& out);

// A close frame's payload.
std::string close_payload(std::uint16_t code, std::string_view reason);

// Takes a stream of frames apart. The sink has
//   bool on_header(const FrameHeader&)                 false stops the reader for good
//   void on_payload(MutableBytes, std::uint64_t at)    a part of the payload, as sent, in place
//   bool on_end()                                      the frame is complete; false stops the
//   reader
class FrameReader {
 public:
  // False once the sink has stopped it.
  template <class Sink>
  bool feed(MutableBytes bytes, Sink& sink) {
    while (!bytes.empty() && !stopped_) {
      if (in_payload_) {
        read_payload(bytes, sink);
      } else {
        read_header(bytes, sink);
      }
    }
    return !stopped_;
  }

  const FrameHeader& header() const { return header_; }

 private:
  template <class Sink>
  void read_header(MutableBytes& bytes, Sink& sink) {
    const std::size_t wanted = have_ < 2 ? 2 : frame_header_size(raw_[1]);
    const std::size_t taken = std::min(wanted - have_, bytes.size());
    std::memcpy(raw_.data() + have_, bytes.data(), taken);
    have_ = static_cast<std::uint8_t>(have_ + taken);
    bytes = bytes.subspan(taken);
    if (have_ < 2 || have_ < frame_header_size(raw_[1])) {
      return;
    }
    header_ = decode_frame_header(raw_.data());
    have_ = 0;
    at_ = 0;
    in_payload_ = header_.length > 0;
    stopped_ = !sink.on_header(header_) || (!in_payload_ && !sink.on_end());
  }

  template <class Sink>
  void read_payload(MutableBytes& bytes, Sink& sink) {
    const std::size_t taken =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), header_.length - at_));
    sink.on_payload(bytes.first(taken), at_);
    at_ += taken;
    bytes = bytes.subspan(taken);
    if (at_ == header_.length) {
      in_payload_ = false;
      stopped_ = !sink.on_end();
    }
  }

  FrameHeader header_;
  std::array<std::uint8_t, kFrameHeaderBytesMax> raw_{};
  std::uint8_t have_ = 0;
  bool in_payload_ = false;
  bool stopped_ = false;
  std::uint64_t at_ = 0;
};

}  // namespace sluice::bench
