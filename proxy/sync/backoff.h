// When to try again, and when to leave: the two jittered times of a stream's life.
#pragma once

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"
#include "proxy/base/rng.h"

namespace sluice::sync {

// Waits between attempts: doubling from kBackoffMin to kBackoffMax, each jittered by half either
// way, so that a thousand proxies that lost the same control plane do not come back together. One
// thread.
class Backoff {
 public:
  explicit Backoff(Rng& rng) : rng_(rng) {}

  nanoseconds next() {
    const nanoseconds base = base_;
    base_ = std::min(base_ * 2, limits::kBackoffMax);
    return std::min(rng_.jitter(base, 0.5), limits::kBackoffMax);
  }
  // The peer answered: the next loss begins at kBackoffMin again.
  void reset() { base_ = limits::kBackoffMin; }

 private:
  Rng& rng_;
  nanoseconds base_ = limits::kBackoffMin;
};

// How long a server keeps one stream open before it ends it cleanly, so that proxies spread anew
// over control planes: kStreamAgeMax, less up to a fifth of it.
inline nanoseconds stream_age(Rng& rng) {
  return rng.jitter(duration_cast<nanoseconds>(limits::kStreamAgeMax * 9 / 10), 1.0 / 9);
}

}  // namespace sluice::sync
