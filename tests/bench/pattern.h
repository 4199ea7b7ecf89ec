// What the load generator sends, so that every byte that comes back can be checked without keeping
// what was sent: 24 bytes that name the message, then bytes that follow from them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "proxy/base/bytes.h"
#include "proxy/base/clock.h"

namespace sluice::bench {

inline constexpr std::size_t kPrologueBytes = 24;

struct MessageId {
  std::uint32_t connection = 0;
  std::uint64_t sequence = 0;
  std::int64_t sent_ns = 0;  // monotonic time at which it was (to be) sent

  bool operator==(const MessageId&) const = default;
};

class Pattern {
 public:
  // For messages of `message_bytes`, at least kPrologueBytes.
  explicit Pattern(std::size_t message_bytes);

  std::size_t message_bytes() const { return message_bytes_; }

  // Writes the whole message.
  void fill(const MessageId& id, std::uint8_t* out) const;

  // The message that a prologue names; nothing when the prologue is not one of ours.
  std::optional<MessageId> identify(const std::array<std::uint8_t, kPrologueBytes>& prologue) const;

  // Whether `bytes` are those of the message from `at` on, `at` >= kPrologueBytes.
  bool matches(const MessageId& id, std::size_t at, ByteView bytes) const;

 private:
  const std::uint8_t* body(const MessageId& id) const;

  std::size_t message_bytes_;
  std::vector<std::uint8_t> noise_;
};

// Checks one message that comes in parts.
class MessageCheck {
 public:
  explicit MessageCheck(const Pattern& pattern) : pattern_(&pattern) {}

  void feed(ByteView bytes);

  // The message is complete: what it was, when every byte was right. Ready for the next one.
  std::optional<MessageId> finish();

 private:
  const Pattern* pattern_;
  std::size_t at_ = 0;
  bool intact_ = true;
  std::array<std::uint8_t, kPrologueBytes> prologue_{};
  std::optional<MessageId> id_;
};

}  // namespace sluice::bench
