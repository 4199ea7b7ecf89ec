#include "proxy/base/timer_wheel.h"

#include <algorithm>
#include <bit>

#include "proxy/base/check.h"
#include "proxy/base/plant.h"

namespace sluice {
namespace {

constexpr int kBits = 6;  // log2 of the slots of a level

std::int64_t tick_at_or_after(Mono time) {
  const std::int64_t ns = time.time_since_epoch().count();
  return ns <= 0 ? 0 : (ns - 1) / 1'000'000 + 1;
}

std::int64_t tick_at_or_before(Mono time) { return time.time_since_epoch().count() / 1'000'000; }

int slot_of(std::int64_t tick, int level) {
  return static_cast<int>((tick >> (kBits * level)) & 63);
}

}  // namespace

void Timer::cancel() {
  if (armed()) {
    wheel_->unlink(*this);
  }
}

TimerWheel::TimerWheel(Mono now) : tick_(tick_at_or_before(now)) {}

TimerWheel::~TimerWheel() {
  for (Level& level : levels_) {
    for (Timer*& head : level.heads) {
      while (head != nullptr) {
        unlink(*head);
      }
    }
  }
}

void TimerWheel::arm(Timer& timer, Mono deadline) {
  timer.cancel();
  if (deadline == kNever) {
    return;
  }
  timer.wheel_ = this;
  timer.tick_ = std::max(tick_at_or_after(deadline), tick_);
  if (SLUICE_PLANT(kTimerNeverFires) && timer.tick_ % 7 == 0) return;
  insert(timer);
  ++size_;
}

// A timer lives in the lowest level whose current turn contains its tick; what lies beyond the
// highest level's turn waits in its last slot and is placed anew when that comes round.
void TimerWheel::insert(Timer& timer) {
  const std::int64_t reach = std::int64_t{1} << (kBits * kLevels);
  const std::int64_t tick = std::min(timer.tick_, tick_ + reach - (reach >> kBits) - 1);
  const auto differing = static_cast<std::uint64_t>(tick ^ tick_);
  int level = differing == 0 ? 0 : (63 - std::countl_zero(differing)) / kBits;
  level = std::min(level, kLevels - 1);
  link(timer, level, slot_of(tick, level));
}

void TimerWheel::link(Timer& timer, int level, int slot) {
  Timer*& head = levels_[level].heads[slot];
  if (head == nullptr) {
    timer.prev_ = timer.next_ = &timer;
    head = &timer;
  } else {
    timer.next_ = head;
    timer.prev_ = head->prev_;
    head->prev_->next_ = &timer;
    head->prev_ = &timer;
  }
  levels_[level].occupied |= std::uint64_t{1} << slot;
  timer.level_slot_ = static_cast<std::int16_t>(level * kSlots + slot);
}

void TimerWheel::unlink(Timer& timer) {
  Level& level = levels_[timer.level_slot_ / kSlots];
  const int slot = timer.level_slot_ % kSlots;
  Timer*& head = level.heads[slot];
  if (timer.next_ == &timer) {
    head = nullptr;
    level.occupied &= ~(std::uint64_t{1} << slot);
  } else {
    timer.prev_->next_ = timer.next_;
    timer.next_->prev_ = timer.prev_;
    if (head == &timer) {
      head = timer.next_;
    }
  }
  timer.prev_ = timer.next_ = nullptr;
  --size_;
}

void TimerWheel::cascade(int level) {
  const int slot = slot_of(tick_, level);
  Timer*& head = levels_[level].heads[slot];
  Timer* list = head;
  head = nullptr;
  levels_[level].occupied &= ~(std::uint64_t{1} << slot);
  if (list == nullptr) {
    return;
  }
  list->prev_->next_ = nullptr;
  while (list != nullptr) {
    Timer* next = list->next_;
    insert(*list);
    list = next;
  }
}

void TimerWheel::fire_slot(int slot) {
  // Only what was there on entry: after the last slot of a turn, what a callback arms for the next
  // turn's last tick comes to lie in this very slot.
  while (Timer* timer = levels_[0].heads[slot]) {
    unlink(*timer);
    link(*timer, kFiring, 0);
    ++size_;
  }
  while (Timer* timer = levels_[kFiring].heads[0]) {
    unlink(*timer);
    timer->fire_(timer->context_);
  }
}

void TimerWheel::advance(Mono now) {
  const std::int64_t last = tick_at_or_before(now);
  while (tick_ <= last) {
    if (size_ == 0) {
      tick_ = last + 1;
      return;
    }
    const int slot = slot_of(tick_, 0);
    const std::int64_t fired = tick_;
    // Move on before firing, so that what callbacks arm at once lands in the next tick.
    ++tick_;
    Level& level = levels_[0];
    if ((level.occupied >> slot & 1) != 0) {
      fire_slot(slot);
    }
    for (int l = 1; l < kLevels && slot_of(tick_, l - 1) == 0; ++l) {
      cascade(l);
    }
    // Nothing else in this turn of the lowest level: go to its end at once.
    if (slot_of(fired, 0) != 63) {
      const std::uint64_t rest = level.occupied >> slot_of(tick_, 0);
      const std::int64_t turn_end = (tick_ | 63) + 1;
      const std::int64_t target = rest != 0 ? tick_ + std::countr_zero(rest) : turn_end;
      if (target > last + 1) {
        tick_ = std::max(tick_, last + 1);
      } else if (target > tick_) {
        tick_ = target;
      }
      if (tick_ == turn_end) {
        for (int l = 1; l < kLevels && slot_of(tick_, l - 1) == 0; ++l) {
          cascade(l);
        }
      }
    }
  }
}

Mono TimerWheel::next() const {
  if (size_ == 0) {
    return kNever;
  }
  for (int l = 0; l < kLevels; ++l) {
    const int here = slot_of(tick_, l);
    // Slots before `here` in this turn have passed; at level 0, `here` itself is still to come.
    const std::uint64_t rest = levels_[l].occupied >> here;
    if (rest != 0) {
      const std::int64_t step = std::int64_t{1} << (kBits * l);
      const std::int64_t first = (tick_ & ~(step - 1)) + step * std::countr_zero(rest);
      return Mono(milliseconds(std::max(first, tick_)));
    }
  }
  // Only wrapped slots of the highest level remain.
  return Mono(milliseconds((tick_ | ((std::int64_t{1} << (kBits * (kLevels - 1))) - 1)) + 1));
}

}  // namespace sluice
