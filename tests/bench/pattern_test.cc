#include "tests/bench/pattern.h"

#include <gtest/gtest.h>

namespace sluice::bench {
namespace {

constexpr std::size_t kBytes = 200;
constexpr MessageId kId{.connection = 7, .sequence = 99, .sent_ns = 123456789};

std::vector<std::uint8_t> message(const Pattern& pattern, const MessageId& id) {
  std::vector<std::uint8_t> bytes(pattern.message_bytes());
  pattern.fill(id, bytes.data());
  return bytes;
}

TEST(Pattern, MessageIsRecognisedHoweverItIsCut) {
  const Pattern pattern(kBytes);
  const std::vector<std::uint8_t> bytes = message(pattern, kId);
  MessageCheck check(pattern);
  for (std::size_t cut = 0; cut <= kBytes; ++cut) {
    check.feed(ByteView(bytes).first(cut));
    check.feed(ByteView(bytes).subspan(cut));
    EXPECT_EQ(check.finish(), kId);
  }
}

TEST(Pattern, EveryWrongByteIsFound) {
  const Pattern pattern(kBytes);
  MessageCheck check(pattern);
  for (std::size_t i = 0; i < kBytes; ++i) {
    std::vector<std::uint8_t> bytes = message(pattern, kId);
    bytes[i] ^= 1;
    check.feed(bytes);
    EXPECT_EQ(check.finish(), std::nullopt) << "byte " << i;
  }
}

TEST(Pattern, ShortAndLongMessagesAreFound) {
  const Pattern pattern(kBytes);
  std::vector<std::uint8_t> bytes = message(pattern, kId);
  MessageCheck check(pattern);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kPrologueBytes, kBytes - 1}) {
    check.feed(ByteView(bytes).first(size));
    EXPECT_EQ(check.finish(), std::nullopt) << size;
  }
  bytes.push_back(0);
  check.feed(bytes);
  EXPECT_EQ(check.finish(), std::nullopt);
}

TEST(Pattern, SmallestMessageIsAPrologueAlone) {
  const Pattern pattern(kPrologueBytes);
  MessageCheck check(pattern);
  check.feed(message(pattern, kId));
  EXPECT_EQ(check.finish(), kId);
}

}  // namespace
}  // namespace sluice::bench
