// Look-ups that find nothing, counted by client address.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"

namespace sluice::sync {

// At most kUnknownTokensPerSecondMax in any whole second of monotonic time. One thread.
class UnknownLimiter {
 public:
  bool allowed(std::string_view address, Mono now) const {
    const auto it = counts_.find(address);
    return it == counts_.end() || it->second.second != second_of(now) ||
           it->second.count < limits::kUnknownTokensPerSecondMax;
  }

  void count(std::string_view address, Mono now) {
    if (counts_.size() >= limits::kLookupAddressesMax && counts_.find(address) == counts_.end()) {
      make_room(now);
    }
    auto it = counts_.find(address);
    if (it == counts_.end()) {
      it = counts_.emplace(std::string(address), Count{}).first;
    }
    Count& count = it->second;
    if (count.second != second_of(now)) {
      count = {second_of(now), 0};
    }
    ++count.count;
  }

 private:
  struct Count {
    std::int64_t second = -1;
    int count = 0;
  };

  static std::int64_t second_of(Mono now) {
    return duration_cast<seconds>(now.time_since_epoch()).count();
  }

  // Those of earlier seconds go; if all are of this one, all go: whoever has so many addresses is
  // not held by a limit per address.
  void make_room(Mono now) {
    std::erase_if(counts_, [now](const auto& e) { return e.second.second != second_of(now); });
    if (counts_.size() >= limits::kLookupAddressesMax) {
      counts_.clear();
    }
  }

  std::map<std::string, Count, std::less<>> counts_;
};

}  // namespace sluice::sync
