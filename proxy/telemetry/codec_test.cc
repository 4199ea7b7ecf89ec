#include "proxy/telemetry/codec.h"

#include <gtest/gtest.h>

#include "proxy/telemetry/test_support.h"

namespace sluice::telemetry {
namespace {

NumberedRecord sample() {
  NumberedRecord numbered;
  numbered.sequence = 300;
  numbered.dropped_before = 7;
  numbered.record = sample_record();
  numbered.record.counts = {1, 2, 300, UINT64_MAX, 5, 6};
  return numbered;
}

TEST(Codec, GivesBackWhatItWasGiven) {
  std::string bytes;
  encode(sample(), bytes);
  const auto back = decode(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->sequence, 300u);
  EXPECT_EQ(back->dropped_before, 7u);
  const Record expected = sample().record;
  expect_same(back->record.facts, expected.facts);
  EXPECT_EQ(back->record.part, expected.part);
  EXPECT_EQ(back->record.counts, expected.counts);
  EXPECT_EQ(back->record.end, expected.end);
  EXPECT_EQ(back->record.status, expected.status);
  EXPECT_EQ(back->record.code, expected.code);
  EXPECT_EQ(back->record.close_code, expected.close_code);
  EXPECT_EQ(back->record.close_side, expected.close_side);
  EXPECT_EQ(back->record.reason, expected.reason);
}

TEST(Codec, RefusesAnyOtherBytes) {
  std::string bytes;
  encode(sample(), bytes);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode(std::string_view(bytes).substr(0, size))) << size;
  }
  EXPECT_FALSE(decode(bytes + "x"));
  EXPECT_FALSE(decode(std::string(11, '\xff')));
}

TEST(Codec, FindsDamageInAFrame) {
  std::string bytes;
  append_frame(sample(), bytes);
  append_frame(sample(), bytes);
  std::string_view left = bytes;
  EXPECT_TRUE(take_frame(left));
  EXPECT_TRUE(take_frame(left));
  EXPECT_TRUE(left.empty());
  EXPECT_FALSE(take_frame(left));
  for (std::size_t i = 0; i < bytes.size() / 2; ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    left = damaged;
    EXPECT_FALSE(take_frame(left)) << i;
    EXPECT_EQ(left.size(), damaged.size());
  }
}

TEST(Codec, CutsTextsThatAreTooLong) {
  NumberedRecord numbered = sample();
  numbered.record.facts.user_agent.assign(100'000, 'x');
  std::string bytes;
  append_frame(numbered, bytes);
  std::string_view left = bytes;
  const auto body = take_frame(left);
  ASSERT_TRUE(body);
  EXPECT_EQ(decode(*body)->record.facts.user_agent.size(), 4096u);
}

}  // namespace
}  // namespace sluice::telemetry
