// Deadlines of one thread: a hierarchical wheel of 1 ms ticks that its owner's clock drives. Arming
// and cancelling cost a few list operations and no allocation.
#pragma once

#include <array>
#include <cstdint>

#include "proxy/base/clock.h"

namespace sluice {

class TimerWheel;

// One deadline. Not movable while armed; destroying it cancels it. Same thread as its wheel.
class Timer {
 public:
  using Fire = void (*)(void* context);

  // `fire(context)` is called from TimerWheel::advance, once per arming.
  Timer(Fire fire, void* context) : fire_(fire), context_(context) {}
  ~Timer() { cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  bool armed() const { return prev_ != nullptr; }
  void cancel();

 private:
  friend class TimerWheel;
  Timer* prev_ = nullptr;  // in a circular list whose head is a Timer too
  Timer* next_ = nullptr;
  std::int64_t tick_ = 0;
  TimerWheel* wheel_ = nullptr;
  std::int16_t level_slot_ = 0;
  Fire fire_;
  void* context_;
};

class TimerWheel {
 public:
  explicit TimerWheel(Mono now);
  ~TimerWheel();
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Arms, or arms anew. Fires in the first advance() at or after `deadline` (rounded up to a whole
  // millisecond), never before; a deadline that has passed fires within the next millisecond.
  // kNever cancels.
  void arm(Timer& timer, Mono deadline);

  // Fires all that is due. Timers armed meanwhile for this time or earlier fire in the next call.
  void advance(Mono now);

  // A time at or before the earliest deadline (exact within one level's slot); kNever if none.
  Mono next() const;

  // Armed timers.
  std::size_t size() const { return size_; }

 private:
  friend class Timer;
  static constexpr int kLevels = 6;
  static constexpr int kFiring = kLevels;  // whose first slot holds what is being fired
  static constexpr int kSlots = 64;

  struct Level {
    std::array<Timer*, kSlots> heads{};
    std::uint64_t occupied = 0;
  };

  void insert(Timer& timer);
  void link(Timer& timer, int level, int slot);
  void unlink(Timer& timer);
  void fire_slot(int slot);
  void cascade(int level);

  std::array<Level, kLevels + 1> levels_;
  std::int64_t tick_;  // all ticks before it have fired
  std::size_t size_ = 0;
};

}  // namespace sluice
