// Whole messages for those that are not on the relay's path: tools, tests, the admin's echo.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/bytes.h"
#include "proxy/base/limits.h"
#include "proxy/websocket/frame.h"
#include "proxy/websocket/tracker.h"
#include "proxy/websocket/utf8.h"

namespace sluice::websocket {

// A data message put together, or a control frame. The payload is unmasked and, where `compressed`,
// still deflated.
struct Message {
  Opcode opcode = Opcode::kText;
  bool compressed = false;
  std::string payload;

  bool operator==(const Message&) const = default;
};

// Bytes in, messages out, in the order in which they end. Holds at most one message. Text and close
// payloads are checked (RFC 6455 sections 5.6, 8.1 and 7.4).
class MessageReader {
 public:
  explicit MessageReader(From from, std::uint64_t message_bytes_max = limits::kMessageBytesMax,
                         bool deflate = false)
      : tracker_(from, deflate), message_bytes_max_(message_bytes_max) {}

  // Adds to `out`. False: the connection must be failed with fault_code() and fault(), and what was
  // added before is still good. What follows a close frame is ignored.
  bool read(ByteView bytes, std::vector<Message>& out);

  std::uint16_t fault_code() const { return fault_code_; }
  std::string_view fault() const { return fault_; }
  // A close frame was read.
  bool closed() const { return closed_; }
  // Nothing unfinished is held.
  bool idle() const { return head_bytes_ == 0 && !in_frame_ && !tracker_.in_message(); }

 private:
  bool begin_frame();
  bool read_head(ByteView& bytes);
  bool take_payload(ByteView bytes);
  bool end_frame(std::vector<Message>& out);
  bool fail(std::uint16_t code, std::string_view fault);

  MessageTracker tracker_;
  std::uint64_t message_bytes_max_;
  std::array<std::uint8_t, kFrameHeadBytesMax> head_buffer_{};
  std::size_t head_bytes_ = 0;  // of an unfinished head
  bool in_frame_ = false;
  bool closed_ = false;
  FrameHead head_;
  FrameStep step_;
  std::uint64_t frame_bytes_ = 0;  // of the frame's payload taken
  std::string message_;
  std::string control_;
  Utf8Validator utf8_;
  std::uint16_t fault_code_ = 0;
  std::string_view fault_;
};

}  // namespace sluice::websocket
