#include "tests/bench/ledger.h"

#include <gtest/gtest.h>

#include "tests/bench/histogram.h"

namespace sluice::bench {
namespace {

Ledger after(int sent, std::initializer_list<std::uint64_t> received) {
  Ledger ledger;
  for (int i = 0; i < sent; ++i) {
    ledger.next();
  }
  for (const std::uint64_t sequence : received) {
    ledger.received(sequence);
  }
  return ledger;
}

TEST(Ledger, CountsAGapAsLostAndTheTailAsOutstanding) {
  const Ledger ledger = after(6, {0, 1, 4});
  EXPECT_EQ(ledger.in_order(), 3U);
  EXPECT_EQ(ledger.lost(), 2U);
  EXPECT_EQ(ledger.outstanding(), 1U);
}

TEST(Ledger, TellsALateMessageFromADoubledOne) {
  const Ledger ledger = after(4, {0, 2, 1, 1, 3, 3});
  EXPECT_EQ(ledger.reordered(), 1U);
  EXPECT_EQ(ledger.doubled(), 2U);
  EXPECT_EQ(ledger.lost(), 0U);
  EXPECT_EQ(ledger.in_order(), 3U);
}

TEST(Ledger, TakesNoMessageThatWasNotSent) {
  const Ledger ledger = after(2, {0, 7});
  EXPECT_EQ(ledger.corrupt(), 1U);
  EXPECT_EQ(ledger.outstanding(), 1U);
}

TEST(Histogram, QuantilesAreWithinTwoPercent) {
  Histogram histogram;
  for (int us = 1; us <= 100'000; ++us) {
    histogram.add(microseconds(us));
  }
  EXPECT_NEAR(histogram.quantile_us(0.5), 50'000, 1'000);
  EXPECT_NEAR(histogram.quantile_us(0.99), 99'000, 2'000);
  EXPECT_EQ(histogram.max_us(), 100'000);
  EXPECT_EQ(histogram.count(), 100'000U);
}

TEST(Histogram, IsZeroWhenEmptyAndExactWhenSmall) {
  Histogram histogram;
  EXPECT_EQ(histogram.quantile_us(0.99), 0);
  histogram.add(nanoseconds(100));
  EXPECT_EQ(histogram.quantile_us(0.5), 0.1);
}

}  // namespace
}  // namespace sluice::bench
