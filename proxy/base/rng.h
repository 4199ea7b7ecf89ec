// The seeded source of chance of one thread: jitter, ids, balancing, frame masks. Not for secrets;
// those come from OpenSSL's RAND_bytes.
#pragma once

#include <cstdint>

#include "proxy/base/clock.h"

namespace sluice {

// SplitMix64: small, fast, and good enough for jitter. One thread.
class Rng {
 public:
  explicit Rng(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }

  // Uniform in [0, bound); bound > 0.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }

  // Uniform in [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

  // `base` times a factor uniform in [1 - part, 1 + part].
  nanoseconds jitter(nanoseconds base, double part) {
    return nanoseconds(static_cast<std::int64_t>(static_cast<double>(base.count()) *
                                                 (1.0 - part + 2.0 * part * unit())));
  }

 private:
  std::uint64_t state_;
};

// A seed from the operating system.
std::uint64_t system_seed();

}  // namespace sluice
