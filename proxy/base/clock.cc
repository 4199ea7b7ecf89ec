#include "proxy/base/clock.h"

#include <algorithm>

#include "proxy/base/check.h"

namespace sluice {

Mono system_mono() {
  return Mono(duration_cast<nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()));
}

Wall system_wall() {
  return Wall(duration_cast<nanoseconds>(std::chrono::system_clock::now().time_since_epoch()));
}

void Clock::tick(Mono mono, Wall wall) {
  SLUICE_DCHECK(mono >= now_);
  const nanoseconds step_max = (mono - now_) / 10;
  const nanoseconds wanted = wall.time_since_epoch() - mono.time_since_epoch();
  offset_ += std::clamp(wanted - offset_, -step_max, step_max);
  now_ = mono;
}

}  // namespace sluice
