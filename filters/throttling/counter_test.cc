#include "filters/throttling/counter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace sluice::filters::throttling {
namespace {

constexpr nanoseconds kMinute = seconds(60);
constexpr std::uint64_t kNoLimit = Allowance::kNoLimit;

Wall at(double s) { return Wall(nanoseconds(static_cast<std::int64_t>(s * 1e9))); }

int admitted(Counter& counter, const Allowance& allowance, int asked, std::uint64_t bytes = 1) {
  int count = 0;
  Counter::Charge charge;
  for (int i = 0; i < asked; ++i) {
    count += counter.charge(allowance, bytes, charge) ? 1 : 0;
  }
  return count;
}

TEST(Counter, AdmitsExactlyItsAllowanceInEachWindow) {
  Counter counter;
  const Allowance allowance{5, kNoLimit};
  counter.roll(at(600), kMinute);
  EXPECT_EQ(counter.end(), at(660));
  EXPECT_EQ(admitted(counter, allowance, 9), 5);
  EXPECT_TRUE(counter.used_up(allowance));
  EXPECT_FALSE(counter.admits(allowance, 0));
  counter.roll(at(659.999), kMinute);
  EXPECT_EQ(admitted(counter, allowance, 9), 0);
  counter.roll(at(660), kMinute);
  EXPECT_EQ(counter.end(), at(720));
  EXPECT_EQ(admitted(counter, allowance, 9), 5);
}

TEST(Counter, OpensNoWindowTwiceForAClockThatIsBehind) {
  Counter counter;
  const Allowance allowance{5, kNoLimit};
  counter.roll(at(660), kMinute);
  EXPECT_EQ(admitted(counter, allowance, 3), 3);
  counter.roll(at(659), kMinute);  // another worker's clock
  EXPECT_EQ(counter.end(), at(720));
  EXPECT_EQ(admitted(counter, allowance, 9), 2);
  counter.roll(at(0), kMinute);
  counter.adopt(at(0), kMinute);
  EXPECT_EQ(admitted(counter, allowance, 9), 0);
}

TEST(Counter, SkipsWindowsInWhichNothingCame) {
  Counter counter;
  counter.roll(at(60), kMinute);
  counter.roll(at(100'000), kMinute);
  EXPECT_EQ(counter.end(), at(100'020));
}

TEST(Counter, GivesBackOnlyInTheSameWindow) {
  Counter counter;
  const Allowance allowance{2, 100};
  counter.roll(at(60), kMinute);
  Counter::Charge charge;
  ASSERT_TRUE(counter.charge(allowance, 60, charge));
  counter.give_back(allowance, 60, charge);
  EXPECT_EQ(counter.messages(), 0u);
  EXPECT_EQ(counter.bytes(), 0u);
  ASSERT_TRUE(counter.charge(allowance, 60, charge));
  counter.roll(at(120), kMinute);
  Counter::Charge later;
  ASSERT_TRUE(counter.charge(allowance, 10, later));
  counter.give_back(allowance, 60, charge);
  EXPECT_EQ(counter.messages(), 1u);
  EXPECT_EQ(counter.bytes(), 10u);
}

TEST(Counter, LimitsBytes) {
  Counter counter;
  const Allowance allowance{kNoLimit - 1, 100};
  counter.roll(at(60), kMinute);
  EXPECT_EQ(admitted(counter, allowance, 5, 40), 2);
  EXPECT_EQ(counter.messages(), 2u);  // what bytes refused is not charged as a message
  EXPECT_TRUE(counter.admits(allowance, 20));
  EXPECT_FALSE(counter.admits(allowance, 21));
  EXPECT_FALSE(counter.used_up(allowance));
  EXPECT_EQ(admitted(counter, allowance, 2, 20), 1);
  EXPECT_TRUE(counter.used_up(allowance));
  Counter::Charge charge;
  EXPECT_FALSE(counter.charge(allowance, UINT64_MAX, charge));
  counter.add_bytes(UINT64_MAX);
  EXPECT_EQ(counter.bytes(), kNoLimit);
  counter.roll(at(120), kMinute);
  EXPECT_EQ(counter.bytes(), 0u);
}

TEST(Counter, KeepsItsUseWhenTheLengthChanges) {
  Counter counter;
  const Allowance allowance{5, kNoLimit};
  counter.adopt(at(3700), kMinute);
  EXPECT_EQ(admitted(counter, allowance, 4), 4);
  counter.adopt(at(3701), seconds(3600));
  EXPECT_EQ(counter.end(), at(7200));
  EXPECT_EQ(admitted(counter, allowance, 4), 1);
  counter.adopt(at(3702), kMinute);
  EXPECT_EQ(counter.end(), at(3720));
  EXPECT_EQ(admitted(counter, allowance, 4), 0);
  counter.roll(at(3720), kMinute);
  EXPECT_EQ(admitted(counter, allowance, 9), 5);
}

TEST(Counter, IsExactUnderManyThreadsAndWindowEdges) {
  constexpr int kThreads = 4;
  constexpr int kWindows = 200;
  constexpr std::uint64_t kLimit = 97;
  Counter counter;
  const Allowance allowance{kLimit, kNoLimit};
  std::atomic<int> window{1};
  std::atomic<std::uint64_t> total{0};
  std::atomic<int> arrived{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int w = 1; w <= kWindows; ++w) {
        while (window.load() < w) {
          std::this_thread::yield();
        }
        // All go over the edge at once, and each asks for more than there is.
        Counter::Charge charge;
        std::uint64_t mine = 0;
        for (std::uint64_t i = 0; i < kLimit + 5; ++i) {
          counter.roll(at(60.0 * w), kMinute);
          if (counter.charge(allowance, 1, charge)) {
            ++mine;
            if (i % 7 == 0) {
              counter.give_back(allowance, 1, charge);
              --mine;
            }
          }
        }
        total.fetch_add(mine);
        if (arrived.fetch_add(1) + 1 == kThreads) {
          EXPECT_EQ(total.exchange(0), kLimit) << "window " << w;
          arrived.store(0);
          window.store(w + 1);
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST(Counter, NeverPassesOneTooManyAtTheEdgeOfTwoLimits) {
  constexpr int kThreads = 4;
  constexpr std::uint64_t kLimit = 20'000;
  Counter messages;
  Counter bytes;
  const Allowance few{kLimit, kNoLimit};
  const Allowance small{kNoLimit - 1, kLimit * 2 + 1};
  messages.roll(at(60), kMinute);
  bytes.roll(at(60), kMinute);
  std::atomic<std::uint64_t> passed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = 0; i < kLimit; ++i) {
        Counter::Charge first;
        Counter::Charge second;
        if (!messages.charge(few, 2, first)) {
          continue;
        }
        if (!bytes.charge(small, 2, second)) {
          messages.give_back(few, 2, first);
          continue;
        }
        passed.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(passed.load(), kLimit);
  EXPECT_EQ(messages.messages(), kLimit);
  EXPECT_EQ(bytes.bytes(), kLimit * 2);
}

TEST(CounterTable, SharesACounterByKey) {
  CounterTable table;
  const auto a = table.get("a", at(1));
  EXPECT_EQ(table.get("a", at(2)), a);
  EXPECT_NE(table.get("b", at(2)), a);
}

TEST(CounterTable, ForgetsWhatNobodyHoldsWhenItsWindowIsOver) {
  CounterTable table;
  const auto held = table.get("held", at(1));
  held->roll(at(1), kMinute);
  const auto still_open = std::make_shared<int>();
  for (int i = 0; i < 5000; ++i) {
    table.get(std::to_string(i), at(1))->roll(at(1), kMinute);
  }
  EXPECT_EQ(table.size(), 5001u);
  // Within the window nothing may be forgotten, or its use would be lost.
  for (int i = 0; i < 5000; ++i) {
    table.get("more" + std::to_string(i), at(59))->roll(at(59), kMinute);
  }
  EXPECT_EQ(table.size(), 10'001u);
  for (int i = 0; i < 20'000; ++i) {
    table.get("later" + std::to_string(i), at(3600.0 + i))->roll(at(3600.0 + i), seconds(1));
  }
  EXPECT_LT(table.size(), 5000u);
  EXPECT_EQ(table.get("held", at(30'000)), held);
}

}  // namespace
}  // namespace sluice::filters::throttling
