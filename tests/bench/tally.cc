#include "tests/bench/tally.h"

#include <ctime>

namespace sluice::bench {
namespace {

nanoseconds read_clock(clockid_t clock) {
  timespec time{};
  if (clock_gettime(clock, &time) != 0) {
    return nanoseconds(0);
  }
  return seconds(time.tv_sec) + nanoseconds(time.tv_nsec);
}

double to_us(nanoseconds time) { return static_cast<double>(time.count()) / 1000; }

}  // namespace

nanoseconds cpu_of(pid_t pid) {
  clockid_t clock = 0;
  return clock_getcpuclockid(pid, &clock) == 0 ? read_clock(clock) : nanoseconds(0);
}

nanoseconds Tally::watched_cpu() const {
  nanoseconds sum(0);
  for (const pid_t pid : watched_) {
    sum += cpu_of(pid);
  }
  return sum;
}

void Tally::begin(Mono now) {
  begin_ = now;
  counting_ = true;
  latencies_.clear();
  own_cpu_ = read_clock(CLOCK_PROCESS_CPUTIME_ID);
  watched_cpu_ = watched_cpu();
}

void Tally::end(Mono now) {
  if (!counting_) {
    return;
  }
  counting_ = false;
  end_ = now;
  own_cpu_ = read_clock(CLOCK_PROCESS_CPUTIME_ID) - own_cpu_;
  watched_cpu_ = watched_cpu() - watched_cpu_;
}

void Tally::error(std::string_view text) {
  ++errors_;
  if (first_error_.empty()) {
    first_error_ = text;
  }
}

void Tally::report(boost::json::object& out) const {
  const std::uint64_t messages = latencies_.count();
  out["messages"] = messages;
  out["errors"] = errors_;
  if (errors_ > 0) {
    out["first_error"] = first_error_;
  }
  out["seconds"] = to_us(end_ - begin_) / 1e6;
  out["p50_us"] = latencies_.quantile_us(0.50);
  out["p99_us"] = latencies_.quantile_us(0.99);
  out["max_us"] = latencies_.max_us();
  out["own_cpu_us"] = to_us(own_cpu_);
  if (!watched_.empty() && messages > 0) {
    out["cpu_us"] = to_us(watched_cpu_) / static_cast<double>(messages);
  }
}

}  // namespace sluice::bench
