#include "proxy/base/timer_wheel.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "proxy/base/rng.h"

namespace sluice {
namespace {

struct Probe {
  explicit Probe(TimerWheel& w) : wheel(w), timer(&fired, this) {}
  static void fired(void* self) { ++static_cast<Probe*>(self)->count; }
  TimerWheel& wheel;
  int count = 0;
  Timer timer;
};

Mono at_ms(std::int64_t ms) { return Mono(milliseconds(ms)); }

TEST(TimerWheel, FiresAtTheDeadlineAndOnce) {
  TimerWheel wheel(at_ms(100));
  Probe probe(wheel);
  wheel.arm(probe.timer, at_ms(150));
  wheel.advance(at_ms(149));
  EXPECT_EQ(probe.count, 0);
  wheel.advance(at_ms(150));
  EXPECT_EQ(probe.count, 1);
  wheel.advance(at_ms(100'000));
  EXPECT_EQ(probe.count, 1);
}

TEST(TimerWheel, CancelledTimersStaySilent) {
  TimerWheel wheel(at_ms(0));
  Probe probe(wheel);
  wheel.arm(probe.timer, at_ms(10));
  probe.timer.cancel();
  wheel.advance(at_ms(20));
  EXPECT_EQ(probe.count, 0);
  EXPECT_EQ(wheel.size(), 0u);
}

TEST(TimerWheel, RandomDeadlinesFireNeverEarlyAndWithinTheStep) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    std::int64_t now = static_cast<std::int64_t>(rng.below(1'000'000));
    TimerWheel wheel(at_ms(now));
    std::vector<std::unique_ptr<Probe>> probes;
    std::vector<std::int64_t> deadlines;
    for (int i = 0; i < 300; ++i) {
      probes.push_back(std::make_unique<Probe>(wheel));
      const int scale = static_cast<int>(rng.below(24));
      deadlines.push_back(now + static_cast<std::int64_t>(rng.below(std::uint64_t{1} << scale)) +
                          1);
      wheel.arm(probes.back()->timer, at_ms(deadlines.back()));
    }
    while (wheel.size() > 0) {
      const Mono next = wheel.next();
      ASSERT_LE(next, at_ms(*std::max_element(deadlines.begin(), deadlines.end())));
      const std::int64_t step = static_cast<std::int64_t>(rng.below(5000)) + 1;
      now = std::max<std::int64_t>(now + step, 0);
      if (rng.below(2) == 0) {
        now = std::max(now, duration_cast<milliseconds>(next.time_since_epoch()).count());
      }
      wheel.advance(at_ms(now));
      for (std::size_t i = 0; i < probes.size(); ++i) {
        ASSERT_EQ(probes[i]->count, deadlines[i] <= now ? 1 : 0)
            << "seed " << seed << " deadline " << deadlines[i] << " now " << now;
      }
    }
  }
}

TEST(TimerWheel, NextIsNeverLaterThanTheEarliest) {
  TimerWheel wheel(at_ms(12'345));
  EXPECT_EQ(wheel.next(), kNever);
  Probe far(wheel);
  Probe near(wheel);
  wheel.arm(far.timer, at_ms(5'000'000));
  EXPECT_LE(wheel.next(), at_ms(5'000'000));
  wheel.arm(near.timer, at_ms(12'350));
  EXPECT_EQ(wheel.next(), at_ms(12'350));
}

TEST(TimerWheel, ACallbackMayArmAgain) {
  TimerWheel wheel(at_ms(0));
  struct Repeat {
    TimerWheel* wheel;
    int count = 0;
    std::int64_t at = 0;
    Timer timer{[](void* self) {
                  auto& r = *static_cast<Repeat*>(self);
                  ++r.count;
                  r.at += 10;
                  r.wheel->arm(r.timer, at_ms(r.at));
                },
                this};
  } repeat{&wheel};
  repeat.at = 10;
  wheel.arm(repeat.timer, at_ms(10));
  for (int ms = 0; ms <= 100; ++ms) {
    wheel.advance(at_ms(ms));
  }
  EXPECT_EQ(repeat.count, 10);
}

TEST(TimerWheel, FiresOnceWhenACallbackArmsForTheSameSlotOfTheNextTurn) {
  for (const std::int64_t first : {63, 127, 4095, 262'143}) {
    TimerWheel wheel(at_ms(first - 1));
    struct Again {
      TimerWheel* wheel;
      std::int64_t at;
      int count = 0;
      Timer timer{[](void* self) {
                    auto& again = *static_cast<Again*>(self);
                    if (++again.count < 3) {
                      again.wheel->arm(again.timer, at_ms(again.at + 64));
                    }
                  },
                  this};
    } again{&wheel, first};
    wheel.arm(again.timer, at_ms(first));
    wheel.advance(at_ms(first));
    EXPECT_EQ(again.count, 1) << first;
    EXPECT_EQ(wheel.size(), 1u);
    wheel.advance(at_ms(first + 63));
    EXPECT_EQ(again.count, 1) << first;
    again.at = first + 64;
    wheel.advance(at_ms(first + 64));
    EXPECT_EQ(again.count, 2) << first;
  }
}

TEST(TimerWheel, ACallbackMayCancelOneThatIsDueWithIt) {
  TimerWheel wheel(at_ms(0));
  struct Canceller {
    Timer* other;
    int count = 0;
    Timer timer{[](void* self) {
                  auto& canceller = *static_cast<Canceller*>(self);
                  ++canceller.count;
                  canceller.other->cancel();
                },
                this};
  } one{nullptr}, two{&one.timer};
  one.other = &two.timer;
  wheel.arm(one.timer, at_ms(10));
  wheel.arm(two.timer, at_ms(10));
  wheel.advance(at_ms(10));
  EXPECT_EQ(one.count + two.count, 1);
  EXPECT_EQ(wheel.size(), 0u);
}

}  // namespace
}  // namespace sluice
