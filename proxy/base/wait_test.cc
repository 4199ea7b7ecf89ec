#include "proxy/base/wait.h"

#include <gtest/gtest.h>

#include "proxy/base/task_group.h"

namespace sluice {
namespace {

Task<void> keep(Wait& wait, std::vector<absl::StatusCode>& seen, int times) {
  for (int i = 0; i < times; ++i) {
    const absl::Status status = co_await wait.wait();
    seen.push_back(status.code());
  }
}

TEST(Wait, WakesWithTheValue) {
  asio::io_context context(1);
  Wait wait;
  std::vector<absl::StatusCode> seen;
  TaskGroup group(context.get_executor());
  group.spawn(keep(wait, seen, 2));
  context.poll();
  EXPECT_TRUE(seen.empty());
  wait.set(absl::OkStatus());
  context.restart();
  context.poll();
  wait.set(absl::UnavailableError("gone"));
  context.restart();
  context.poll();
  EXPECT_EQ(seen, (std::vector{absl::StatusCode::kOk, absl::StatusCode::kUnavailable}));
  EXPECT_EQ(group.size(), 0u);
}

TEST(Wait, CancelEndsThisWaitAndEveryLaterOne) {
  asio::io_context context(1);
  Wait wait;
  std::vector<absl::StatusCode> seen;
  TaskGroup group(context.get_executor());
  group.spawn(keep(wait, seen, 3));
  context.poll();
  group.cancel();
  context.restart();
  context.poll();
  EXPECT_EQ(seen, (std::vector{absl::StatusCode::kCancelled, absl::StatusCode::kCancelled,
                               absl::StatusCode::kCancelled}));
  EXPECT_EQ(group.size(), 0u);
}

TEST(Wait, SleepEndsWhenTheWheelReachesTheDeadline) {
  asio::io_context context(1);
  TimerWheel wheel(Mono(seconds(1)));
  bool woke = false;
  TaskGroup group(context.get_executor());
  group.spawn([](TimerWheel& timers, bool& flag) -> Task<void> {
    flag = (co_await sleep_until(timers, Mono(seconds(2)))).ok();
  }(wheel, woke));
  context.poll();
  wheel.advance(Mono(milliseconds(1999)));
  context.restart();
  context.poll();
  EXPECT_FALSE(woke);
  wheel.advance(Mono(seconds(2)));
  context.restart();
  context.poll();
  EXPECT_TRUE(woke);
}

}  // namespace
}  // namespace sluice
