// What a run has measured: messages, latencies and CPU between begin() and end(); errors always.
#pragma once

#include <sys/types.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/clock.h"
#include "tests/bench/histogram.h"

namespace sluice::bench {

// CPU time of a process, of all its threads, dead ones included, from the kernel's own accounting;
// 0 when there is no such process.
nanoseconds cpu_of(pid_t pid);

class Tally {
 public:
  explicit Tally(std::vector<pid_t> watched) : watched_(std::move(watched)) {}

  void begin(Mono now);
  void end(Mono now);
  bool ended() const { return end_ != Mono{}; }

  // A round trip; counts between begin() and end().
  void add(nanoseconds latency) {
    if (counting_) {
      latencies_.add(latency);
    }
    ++total_;
  }
  void error(std::string_view text);

  std::uint64_t errors() const { return errors_; }
  // Round trips since the start, measured or not.
  std::uint64_t total() const { return total_; }

  // messages, errors, first_error, seconds, p50_us, p99_us, max_us, own_cpu_us and, where processes
  // are watched, cpu_us: theirs per message.
  void report(boost::json::object& out) const;

 private:
  nanoseconds watched_cpu() const;

  std::vector<pid_t> watched_;
  bool counting_ = false;
  Mono begin_{};
  Mono end_{};
  nanoseconds own_cpu_{};
  nanoseconds watched_cpu_{};
  Histogram latencies_;
  std::uint64_t total_ = 0;
  std::uint64_t errors_ = 0;
  std::string first_error_;
};

}  // namespace sluice::bench
