#include "proxy/base/clock.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Clock, FollowsTheWallWithoutAStep) {
  Clock clock(Mono(seconds(10)), Wall(seconds(1000)));
  clock.tick(Mono(seconds(11)), Wall(seconds(1001)));
  EXPECT_EQ(clock.wall(), Wall(seconds(1001)));
}

TEST(Clock, NeverFallsWhenTheSystemClockIsSetBack) {
  Clock clock(Mono(seconds(10)), Wall(seconds(1000)));
  Wall before = clock.wall();
  for (int i = 1; i <= 100; ++i) {
    clock.tick(Mono(seconds(10) + milliseconds(100) * i),
               Wall(seconds(500) + milliseconds(100) * i));
    EXPECT_GT(clock.wall(), before);
    before = clock.wall();
  }
}

TEST(Clock, RunsAtMostATenthFasterTowardsAJumpAhead) {
  Clock clock(Mono(seconds(0)), Wall(seconds(1000)));
  clock.tick(Mono(seconds(10)), Wall(seconds(5000)));
  EXPECT_EQ(clock.wall(), Wall(seconds(1011)));
}

}  // namespace
}  // namespace sluice
