// Latencies in buckets of at most 1/64 of their value, so that percentiles cost no memory per
// message.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "proxy/base/clock.h"

namespace sluice::bench {

class Histogram {
 public:
  void add(nanoseconds value) {
    const auto ns = static_cast<std::uint64_t>(value.count() < 0 ? 0 : value.count());
    const std::size_t bucket = bucket_of(ns);
    if (bucket >= counts_.size()) {
      counts_.resize(bucket + 1);
    }
    ++counts_[bucket];
    ++count_;
    max_ns_ = ns > max_ns_ ? ns : max_ns_;
  }

  void clear() { *this = Histogram(); }

  // The value, in µs, that the part `quantile` (0 to 1) of all is not above; 0 when empty.
  double quantile_us(double quantile) const {
    const auto rank = static_cast<std::uint64_t>(quantile * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
      seen += counts_[bucket];
      if (seen > rank) {
        return static_cast<double>(std::min(highest_in(bucket), max_ns_)) / 1000;
      }
    }
    return max_us();
  }

  double max_us() const { return static_cast<double>(max_ns_) / 1000; }
  std::uint64_t count() const { return count_; }

 private:
  static constexpr int kSubBits = 6;
  static constexpr std::uint64_t kSubBuckets = 1U << kSubBits;

  static std::size_t bucket_of(std::uint64_t ns) {
    const int shift = std::bit_width(ns | kSubBuckets) - kSubBits - 1;
    return (static_cast<std::size_t>(shift) << kSubBits) + (ns >> shift);
  }
  static std::uint64_t highest_in(std::size_t bucket) {
    if (bucket < 2 * kSubBuckets) {
      return bucket;
    }
    const std::size_t shift = (bucket >> kSubBits) - 1;
    const std::uint64_t lowest = (bucket - (shift << kSubBits)) << shift;
    return lowest + (std::uint64_t{1} << shift) - 1;
  }

  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::uint64_t max_ns_ = 0;
};

}  // namespace sluice::bench
