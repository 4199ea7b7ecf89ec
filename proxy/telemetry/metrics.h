// Counters, gauges and histograms, and their text in the Prometheus exposition format (0.0.4). Used
// by both planes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::telemetry {

using Labels = std::vector<std::pair<std::string, std::string>>;  // name, value

// A counter's cell. Each caller of Metrics::counter gets a cell of its own, and cells of the same
// name and labels are summed at scrape: so a worker counts in its own memory.
class Counter {
 public:
  // For the one thread that owns the cell.
  void add(std::uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  // For a cell that several threads share.
  void add_shared(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  alignas(64) std::atomic<std::uint64_t> value_{0};
};

// As Counter; cells are summed too.
class Gauge {
 public:
  void set(std::int64_t value) { value_.store(value, std::memory_order_relaxed); }
  void add(std::int64_t n) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  alignas(64) std::atomic<std::int64_t> value_{0};
};

// Buckets by upper bound, for seconds and bytes. observe() is for the one thread that owns the
// cell.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds);

  void observe(double value);

  struct Totals {
    std::vector<std::uint64_t> buckets;  // one more than bounds, not cumulative
    double sum = 0;
  };
  const std::vector<double>& bounds() const { return bounds_; }
  Totals totals() const;

 private:
  const std::vector<double> bounds_;  // rising
  std::vector<std::atomic<std::uint64_t>> buckets_;
  std::atomic<double> sum_{0};
};

// 1 ms to 10 s.
std::vector<double> latency_bounds();

// Any thread. Names begin with `sluice_`; those of counters end in `_total`, units are base units
// (`_seconds`, `_bytes`): CHECKed, as is that a name keeps its type and help.
class Metrics {
 public:
  enum class Type : std::uint8_t { kCounter, kGauge, kHistogram };
  struct Sample {
    Labels labels;
    double value = 0;
  };

  // Cells live as long as this object, so label values must be few: names of resources, not of
  // clients.
  Counter& counter(std::string_view name, std::string_view help, Labels labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, Labels labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, std::vector<double> bounds,
                       Labels labels = {});

  // Asked at each scrape, on the scraping thread; for what is counted elsewhere.
  using Collect = std::function<std::vector<Sample>()>;
  void collect(Type type, std::string_view name, std::string_view help, Collect collect);
  // The same for one value without labels.
  void collect_value(Type type, std::string_view name, std::string_view help,
                     std::function<double()> value);

  std::string text() const;

 private:
  template <class Cell>
  using Cells = std::map<std::string, std::vector<std::unique_ptr<Cell>>>;  // by the labels' text
  struct Family {
    Type type = Type::kCounter;
    std::string help;
    Cells<Counter> counters;
    Cells<Gauge> gauges;
    Cells<Histogram> histograms;
    std::vector<Collect> collects;
  };

  Family& family(Type type, std::string_view name, std::string_view help);

  mutable std::mutex mutex_;
  std::map<std::string, Family, std::less<>> families_;
};

// process_cpu_seconds_total, process_resident_memory_bytes, process_open_fds, process_max_fds and
// process_start_time_seconds, and sluice_build_info.
void add_process_metrics(Metrics& metrics);

}  // namespace sluice::telemetry
