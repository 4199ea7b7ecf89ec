// Virtual time and what is to happen in it.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "proxy/base/clock.h"

namespace sluice::simulation {

class Schedule {
 public:
  explicit Schedule(Mono now) : now_(now) {}

  Mono now() const { return now_; }
  void advance(Mono now) { now_ = now; }

  void at(Mono when, std::function<void()> work) { events_.emplace(when, std::move(work)); }
  void after(nanoseconds delay, std::function<void()> work) { at(now_ + delay, std::move(work)); }

  Mono next() const { return events_.empty() ? kNever : events_.begin()->first; }

  // Runs the earliest of what is due, of several the one asked for first; false if nothing is.
  bool run_one() {
    if (next() > now_) {
      return false;
    }
    auto event = events_.extract(events_.begin());
    event.mapped()();
    return true;
  }

 private:
  Mono now_;
  std::multimap<Mono, std::function<void()>> events_;
};

}  // namespace sluice::simulation
