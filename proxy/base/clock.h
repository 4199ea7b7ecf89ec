// Time as a worker sees it: read once a loop turn, the same for all that happens in the turn.
#pragma once

#include <chrono>
#include <cstdint>

namespace sluice {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

struct MonoTag {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = nanoseconds;
  using time_point = std::chrono::time_point<MonoTag, nanoseconds>;
  static constexpr bool is_steady = true;
};
struct WallTag {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = nanoseconds;
  using time_point = std::chrono::time_point<WallTag, nanoseconds>;
  static constexpr bool is_steady = false;
};

// A point of monotonic time; only differences mean anything.
using Mono = MonoTag::time_point;
// A point of wall time, nanoseconds since the Unix epoch.
using Wall = WallTag::time_point;

inline constexpr Mono kNever = Mono::max();

// The system's two clocks, now. One vDSO call each; per loop turn, not per event.
Mono system_mono();
Wall system_wall();

// Wall time that follows the system's but never steps: it is monotonic time plus an offset that is
// moved by at most a tenth of the time that passes, so that a jump of the system's clock opens no
// throttling window twice and none early by more than a tenth. One thread.
class Clock {
 public:
  // Begins at the system's time.
  Clock() : Clock(system_mono(), system_wall()) {}
  Clock(Mono mono, Wall wall)
      : now_(mono), offset_(wall.time_since_epoch() - mono.time_since_epoch()) {}

  Mono now() const { return now_; }
  Wall wall() const { return Wall(now_.time_since_epoch() + offset_); }

  // The system's clocks read `mono` and `wall`. `mono` must not fall.
  void tick(Mono mono, Wall wall);
  void tick() { tick(system_mono(), system_wall()); }

 private:
  Mono now_;
  nanoseconds offset_;
};

inline std::int64_t to_ms(Wall wall) {
  return duration_cast<milliseconds>(wall.time_since_epoch()).count();
}
inline Wall wall_from_ms(std::int64_t ms) { return Wall(milliseconds(ms)); }

}  // namespace sluice
