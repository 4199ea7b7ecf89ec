#include "proxy/websocket/reader.h"

#include <algorithm>
#include <utility>

#include "proxy/websocket/close.h"

namespace sluice::websocket {

bool MessageReader::fail(std::uint16_t code, std::string_view fault) {
  fault_code_ = code;
  fault_ = fault;
  return false;
}

bool MessageReader::begin_frame() {
  if (const FrameFault fault = tracker_.step(head_, step_); fault != FrameFault::kNone) {
    return fail(close_code::kProtocolError, text(fault));
  }
  if (!step_.control && step_.message_bytes > message_bytes_max_) {
    return fail(close_code::kTooBig, "the message is too large");
  }
  if (step_.begins_message) {
    message_.clear();
    utf8_ = {};
  }
  control_.clear();
  frame_bytes_ = 0;
  in_frame_ = true;
  return true;
}

bool MessageReader::take_payload(ByteView bytes) {
  std::string& target = step_.control ? control_ : message_;
  const std::size_t begin = target.size();
  target.append(as_text(bytes));
  const auto offset = static_cast<std::size_t>(frame_bytes_);
  frame_bytes_ += bytes.size();
  if (head_.masked) {
    apply_mask({reinterpret_cast<std::uint8_t*>(target.data()) + begin, bytes.size()}, head_.mask,
               offset);
  }
  const bool text = !step_.control && step_.opcode == Opcode::kText && !step_.compressed;
  if (text && !utf8_.feed(std::string_view(target).substr(begin))) {
    return fail(close_code::kInvalidPayload, "a text message is not UTF-8");
  }
  return true;
}

bool MessageReader::end_frame(std::vector<Message>& out) {
  in_frame_ = false;
  if (step_.control) {
    if (step_.opcode == Opcode::kClose) {
      if (!parse_close(control_)) {
        return fail(close_code::kProtocolError, "the payload of a close frame is not valid");
      }
      closed_ = true;
    }
    out.push_back({step_.opcode, false, std::exchange(control_, {})});
    return true;
  }
  if (!step_.ends_message) {
    return true;
  }
  if (step_.opcode == Opcode::kText && !step_.compressed && !utf8_.complete()) {
    return fail(close_code::kInvalidPayload, "a text message ends inside a character");
  }
  out.push_back({step_.opcode, step_.compressed, std::exchange(message_, {})});
  return true;
}

bool MessageReader::read_head(ByteView& bytes) {
  // Byte by byte into the buffer: at most 14 of a frame, and only tools come here.
  while (!bytes.empty()) {
    head_buffer_[head_bytes_++] = bytes.front();
    bytes = bytes.subspan(1);
    const ByteView so_far(head_buffer_.data(), head_bytes_);
    switch (parse_frame_head(so_far, head_)) {
      case FrameParse::kNeedMore:
        continue;
      case FrameParse::kError:
        return fail(close_code::kProtocolError, head_fault(so_far));
      case FrameParse::kDone:
        head_bytes_ = 0;
        return begin_frame();
    }
  }
  return true;
}

bool MessageReader::read(ByteView bytes, std::vector<Message>& out) {
  if (fault_code_ != 0) {
    return false;
  }
  while (!closed_) {
    if (!in_frame_) {
      if (!read_head(bytes)) {
        return false;
      }
      if (!in_frame_) {
        return true;
      }
    }
    const auto size = static_cast<std::size_t>(
        std::min<std::uint64_t>(head_.payload_bytes - frame_bytes_, bytes.size()));
    if (!take_payload(bytes.first(size))) {
      return false;
    }
    bytes = bytes.subspan(size);
    if (frame_bytes_ < head_.payload_bytes) {
      return true;
    }
    if (!end_frame(out)) {
      return false;
    }
  }
  return true;
}

}  // namespace sluice::websocket
