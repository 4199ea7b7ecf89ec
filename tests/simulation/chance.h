// Everything that a seed decides.
#pragma once

#include <cstdint>
#include <iterator>

#include "proxy/base/rng.h"

namespace sluice::simulation {

class Chance {
 public:
  explicit Chance(std::uint64_t seed) : rng_(seed) {}

  Rng& rng() { return rng_; }
  bool percent(int part) { return static_cast<int>(rng_.below(100)) < part; }
  // Both ends included.
  int between(int low, int high) {
    return low + static_cast<int>(rng_.below(static_cast<std::uint64_t>(high - low) + 1));
  }
  nanoseconds ms_between(int low, int high) { return milliseconds(between(low, high)); }
  // How late a message is: little as a rule, much now and then.
  nanoseconds lateness() { return percent(8) ? ms_between(50, 400) : ms_between(0, 25); }

  template <class Container>
  auto& pick(Container& from) {
    auto it = std::begin(from);
    std::advance(it, static_cast<std::ptrdiff_t>(rng_.below(std::size(from))));
    return *it;
  }

 private:
  Rng rng_;
};

}  // namespace sluice::simulation
