// What passed in each window of each limit, and how much of it could.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "proxy/config/snapshot.h"
#include "tests/simulation/belief.h"
#include "tests/simulation/report.h"
#include "tests/simulation/talk.h"

namespace sluice::simulation {

// All plans of the simulation have windows of this length.
inline constexpr nanoseconds kWindow = seconds(2);

struct Limit {
  std::uint64_t messages = 0;  // 0: none
  bool drops_up = false;       // drops, or closes
  bool drops_down = false;

  friend bool operator==(const Limit&, const Limit&) = default;
};

// One counter of the filter throttling.
struct LimitKey {
  enum class Level : std::uint8_t { kApi, kSubscription, kApplication };
  struct Past {
    Limit limit;
    Mono until;
  };
  Level level = Level::kApi;
  std::string application;
  std::string api;
  Limit limit;
  Mono changed{};
  std::vector<Past> past;
  std::int64_t window = -1;
  std::uint64_t passed = 0;  // in that window
  Mono murky_until{};        // what passed meanwhile was not all seen
};

class LimitBook {
 public:
  LimitBook(const Schedule& schedule, Report& report) : schedule_(schedule), report_(report) {}

  // Sets the talk's limits.
  void join(Talk& talk);
  // What the proxy believes, or serves, changed.
  void refresh(const Belief& belief, const config::Snapshot& snapshot);
  // A message of the talk arrived at one of its ends: never more than the plan's.
  void pass(const Talk& talk, Wall wall);
  // Messages of the talk may have passed that nobody saw.
  void murky(const Talk& talk);

  // Whether a limit is a good reason for a message of the talk not to pass.
  bool explains(const Talk& talk, Wall wall);
  // Whether some limit of the talk's life may have taken messages away.
  bool may_drop(const Talk& talk, bool up) const;
  // Whether a limit of that level, or of any level, may be used up.
  bool used_up(const Talk& talk, Wall wall, LimitKey::Level level);

 private:
  void roll(LimitKey& key, Wall wall) const;
  bool explains(LimitKey& key, Wall wall) const;
  bool settled(const LimitKey& key) const;

  const Schedule& schedule_;
  Report& report_;
  std::map<std::string, LimitKey> keys_;
};

}  // namespace sluice::simulation
