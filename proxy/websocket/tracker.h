// What a frame means in the stream that it is part of.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/websocket/frame.h"

namespace sluice::websocket {

// Who sent the frames. A client must mask, a server must not (RFC 6455 section 5.1).
enum class From : std::uint8_t { kClient, kServer };

enum class FrameFault : std::uint8_t {
  kNone,
  kMaskMissing,
  kMaskForbidden,
  kReservedBits,
  kControlTooLong,
  kControlFragmented,
  kUnexpectedContinuation,
  kMessageUnfinished,  // a new data message inside another
};

// For a close reason or a log.
std::string_view text(FrameFault fault);

struct FrameStep {
  bool control = false;
  bool begins_message = false;  // both false for control frames
  bool ends_message = false;
  bool compressed = false;        // of the message (RFC 7692)
  Opcode opcode = Opcode::kText;  // of the message; of a control frame, its own
  std::uint64_t message_bytes =
      0;  // of the message, this frame included; of a control frame, its own
};

// One direction of a connection, frame by frame: order of fragments, control frames, masking, RSV
// bits. Plain data of 16 bytes that can be copied. Says nothing about what follows a close frame.
class MessageTracker {
 public:
  // `deflate`: permessage-deflate was agreed on, and RSV1 of a message's first frame belongs to it.
  explicit MessageTracker(From from, bool deflate = false)
      : from_client_(from == From::kClient), deflate_(deflate) {}

  // The next frame's head. After a fault the connection must be failed with 1002; `out` is then
  // undefined.
  FrameFault step(const FrameHead& head, FrameStep& out) {
    if (head.masked != from_client_) [[unlikely]] {
      return from_client_ ? FrameFault::kMaskMissing : FrameFault::kMaskForbidden;
    }
    if (is_control(head.opcode)) {
      return step_control(head, out);
    }
    const bool begins = head.opcode != Opcode::kContinuation;
    if (begins == open_) [[unlikely]] {
      return begins ? FrameFault::kMessageUnfinished : FrameFault::kUnexpectedContinuation;
    }
    const std::uint8_t allowed = begins && deflate_ ? kRsv1 : 0;
    if ((head.rsv & ~allowed) != 0) [[unlikely]] {
      return FrameFault::kReservedBits;
    }
    if (begins) {
      opcode_ = head.opcode;
      compressed_ = head.rsv != 0;
      message_bytes_ = 0;
    }
    // Payloads are below 2^63: the sum of two never wraps, and it is kept below 2^63 too.
    message_bytes_ += head.payload_bytes;
    if ((message_bytes_ >> 63) != 0) [[unlikely]] {
      message_bytes_ = ~std::uint64_t{0} >> 1;
    }
    open_ = !head.fin;
    out = {.control = false,
           .begins_message = begins,
           .ends_message = head.fin,
           .compressed = compressed_,
           .opcode = opcode_,
           .message_bytes = message_bytes_};
    return FrameFault::kNone;
  }

  // A data message has begun and not ended: between frames, other data may be inserted only when
  // this is false.
  bool in_message() const { return open_; }
  From from() const { return from_client_ ? From::kClient : From::kServer; }
  bool deflate() const { return deflate_; }

 private:
  static FrameFault step_control(const FrameHead& head, FrameStep& out) {
    if (head.payload_bytes > kControlPayloadBytesMax) [[unlikely]] {
      return FrameFault::kControlTooLong;
    }
    if (!head.fin) [[unlikely]] {
      return FrameFault::kControlFragmented;
    }
    if (head.rsv != 0) [[unlikely]] {
      return FrameFault::kReservedBits;
    }
    out = {.control = true, .opcode = head.opcode, .message_bytes = head.payload_bytes};
    return FrameFault::kNone;
  }

  std::uint64_t message_bytes_ = 0;
  Opcode opcode_ = Opcode::kText;
  bool from_client_;
  bool deflate_;
  bool open_ = false;
  bool compressed_ = false;
};
static_assert(sizeof(MessageTracker) == 16);

}  // namespace sluice::websocket
