// WebSocket frames: the parser against the writer, the tracker and the reader against a plain walk
// over the same bytes, and the reader against itself with the bytes cut elsewhere.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/bytes.h"
#include "proxy/base/check.h"
#include "proxy/websocket/close.h"
#include "proxy/websocket/reader.h"

namespace sluice::websocket {
namespace {

constexpr std::uint64_t kMessageMax = 1024;

struct Setting {
  From from;
  bool deflate;
};

struct Walk {
  std::vector<Message> messages;  // without judging UTF-8 or close payloads
  bool fault = false;             // of a head, the order, or the size
};

// The head at the front is the one that the writer writes, and no prefix of it is enough.
void check_head(ByteView bytes, const FrameHead& head) {
  std::array<std::uint8_t, kFrameHeadBytesMax> out{};
  SLUICE_CHECK(write_frame_head(out.data(), head) == head.head_bytes);
  SLUICE_CHECK(std::equal(out.begin(), out.begin() + head.head_bytes, bytes.begin()));
  for (std::size_t size = 0; size < head.head_bytes; ++size) {
    FrameHead other;
    SLUICE_CHECK(parse_frame_head(bytes.first(size), other) == FrameParse::kNeedMore);
  }
}

std::string unmasked(ByteView payload, const FrameHead& head) {
  std::string out(as_text(payload));
  for (std::size_t i = 0; i < out.size() && head.masked; ++i) {
    out[i] = static_cast<char>(out[i] ^ head.mask[i % 4]);
  }
  return out;
}

void check_builder(ByteView frame, const FrameHead& head, std::string_view payload) {
  if (head.rsv == 0) {
    const auto mask = head.masked ? std::optional(head.mask) : std::nullopt;
    SLUICE_CHECK(make_frame(head.opcode, payload, head.fin, mask) == as_text(frame));
  }
}

// A reading of RFC 6455 section 5.4 as plain as it can be.
Walk walk(ByteView bytes, const Setting& setting) {
  Walk out;
  MessageTracker tracker(setting.from, setting.deflate);
  std::string message;
  while (true) {
    FrameHead head;
    FrameStep step;
    const FrameParse parsed = parse_frame_head(bytes, head);
    SLUICE_CHECK((parsed == FrameParse::kError) == !head_fault(bytes).empty());
    if (parsed == FrameParse::kNeedMore) {
      return out;
    }
    const bool was_open = tracker.in_message();
    out.fault = parsed == FrameParse::kError || tracker.step(head, step) != FrameFault::kNone ||
                (!step.control && step.message_bytes > kMessageMax);
    if (out.fault) {
      return out;
    }
    check_head(bytes, head);
    SLUICE_CHECK(!step.control || (head.fin && head.payload_bytes <= 125 && head.rsv == 0));
    SLUICE_CHECK(!step.begins_message || !was_open);
    SLUICE_CHECK(step.control || tracker.in_message() == !step.ends_message);
    if (bytes.size() - head.head_bytes < head.payload_bytes) {
      return out;
    }
    const std::size_t size = head.head_bytes + static_cast<std::size_t>(head.payload_bytes);
    const std::string payload =
        unmasked(bytes.subspan(head.head_bytes, size - head.head_bytes), head);
    check_builder(bytes.first(size), head, payload);
    bytes = bytes.subspan(size);
    if (step.control) {
      out.messages.push_back({step.opcode, false, payload});
      if (step.opcode == Opcode::kClose) {
        return out;
      }
      continue;
    }
    message = step.begins_message ? payload : message + payload;
    SLUICE_CHECK(message.size() == step.message_bytes);
    if (step.ends_message) {
      out.messages.push_back({step.opcode, step.compressed, message});
    }
  }
}

struct Read {
  std::vector<Message> messages;
  std::uint16_t fault_code = 0;
};

Read read(ByteView bytes, const Setting& setting, std::size_t piece) {
  Read out;
  MessageReader reader(setting.from, kMessageMax, setting.deflate);
  while (!bytes.empty()) {
    const ByteView part = bytes.first(std::min(piece, bytes.size()));
    bytes = bytes.subspan(part.size());
    if (!reader.read(part, out.messages)) {
      break;
    }
  }
  out.fault_code = reader.fault_code();
  return out;
}

void check(ByteView bytes, const Setting& setting, std::size_t piece) {
  const Walk reference = walk(bytes, setting);
  const Read whole = read(bytes, setting, bytes.size());
  const Read cut = read(bytes, setting, piece);
  SLUICE_CHECK(whole.messages == cut.messages && whole.fault_code == cut.fault_code);
  SLUICE_CHECK(whole.messages.size() <= reference.messages.size());
  SLUICE_CHECK(
      std::equal(whole.messages.begin(), whole.messages.end(), reference.messages.begin()));
  SLUICE_CHECK(!reference.fault || whole.fault_code != 0);
  if (whole.fault_code == 0) {
    SLUICE_CHECK(whole.messages.size() == reference.messages.size());
  }
  for (const Message& message : whole.messages) {
    SLUICE_CHECK(message.opcode != Opcode::kText || message.compressed ||
                 valid_utf8(message.payload));
    SLUICE_CHECK(message.opcode != Opcode::kClose || parse_close(message.payload));
  }
}

}  // namespace
}  // namespace sluice::websocket

// The first byte is the setting: who sent it, permessage-deflate, size of the pieces.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using sluice::websocket::From;
  if (size == 0) {
    return 0;
  }
  const sluice::websocket::Setting setting{(data[0] & 1) != 0 ? From::kClient : From::kServer,
                                           (data[0] & 2) != 0};
  sluice::websocket::check({data + 1, size - 1}, setting, (data[0] >> 2) % 16 + 1);
  return 0;
}
