#include "proxy/telemetry/metrics.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>

#include "proxy/base/check.h"
#include "proxy/base/clock.h"

namespace sluice::telemetry {
namespace {

void append_label(std::string& out, std::string_view name, std::string_view value) {
  out += out.empty() ? "" : ",";
  out += name;
  out += "=\"";
  for (const char c : value) {
    if (c == '\\' || c == '"') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  out += '"';
}

// `a="x",b="y"`, without braces.
std::string labels_text(const Labels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    append_label(text, name, value);
  }
  return text;
}

std::string number_text(double value) {
  if (std::isinf(value)) {
    return value > 0 ? "+Inf" : "-Inf";
  }
  // Whole numbers without an exponent, as far as a double holds them.
  if (value == std::floor(value) && std::abs(value) < 9e15) {
    return fmt::format("{}", static_cast<std::int64_t>(value));
  }
  return fmt::format("{}", value);
}

void append_sample(std::string& out, std::string_view name, std::string_view labels,
                   std::string_view value) {
  out += name;
  if (!labels.empty()) {
    fmt::format_to(std::back_inserter(out), "{{{}}}", labels);
  }
  fmt::format_to(std::back_inserter(out), " {}\n", value);
}

std::string_view type_name(Metrics::Type type) {
  switch (type) {
    case Metrics::Type::kCounter:
      return "counter";
    case Metrics::Type::kGauge:
      return "gauge";
    case Metrics::Type::kHistogram:
      return "histogram";
  }
  return "";
}

bool well_named(Metrics::Type type, std::string_view name) {
  const bool ours = name.starts_with("sluice_") || name.starts_with("process_");
  return ours && name.ends_with("_total") == (type == Metrics::Type::kCounter);
}

template <class Cell>
auto sum_of(const std::vector<std::unique_ptr<Cell>>& cells) {
  decltype(cells.front()->value()) sum = 0;
  for (const std::unique_ptr<Cell>& cell : cells) {
    sum += cell->value();
  }
  return sum;
}

void append_histogram(std::string& out, const std::string& name, const std::string& labels,
                      const std::vector<std::unique_ptr<Histogram>>& cells) {
  const std::vector<double>& bounds = cells.front()->bounds();
  Histogram::Totals all;
  all.buckets.resize(bounds.size() + 1);
  for (const std::unique_ptr<Histogram>& cell : cells) {
    const Histogram::Totals totals = cell->totals();
    for (std::size_t i = 0; i < all.buckets.size(); ++i) {
      all.buckets[i] += totals.buckets[i];
    }
    all.sum += totals.sum;
  }
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < all.buckets.size(); ++i) {
    below += all.buckets[i];
    std::string with_bound = labels;
    append_label(with_bound, "le", i < bounds.size() ? number_text(bounds[i]) : "+Inf");
    append_sample(out, name + "_bucket", with_bound, fmt::format("{}", below));
  }
  append_sample(out, name + "_sum", labels, number_text(all.sum));
  append_sample(out, name + "_count", labels, fmt::format("{}", below));
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), buckets_(bounds_.size() + 1) {
  SLUICE_CHECK(std::is_sorted(bounds_.begin(), bounds_.end()));
}

void Histogram::observe(double value) {
  const auto bucket = static_cast<std::size_t>(
      std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin());
  constexpr auto kRelaxed = std::memory_order_relaxed;
  buckets_[bucket].store(buckets_[bucket].load(kRelaxed) + 1, kRelaxed);
  sum_.store(sum_.load(kRelaxed) + value, kRelaxed);
}

Histogram::Totals Histogram::totals() const {
  Totals totals;
  for (const std::atomic<std::uint64_t>& bucket : buckets_) {
    totals.buckets.push_back(bucket.load(std::memory_order_relaxed));
  }
  totals.sum = sum_.load(std::memory_order_relaxed);
  return totals;
}

std::vector<double> latency_bounds() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
}

Metrics::Family& Metrics::family(Type type, std::string_view name, std::string_view help) {
  SLUICE_CHECK(well_named(type, name));
  auto found = families_.find(name);
  if (found == families_.end()) {
    found = families_.emplace(std::string(name), Family()).first;
    found->second.type = type;
    found->second.help = help;
  }
  SLUICE_CHECK(found->second.type == type && found->second.help == help);
  return found->second;
}

Counter& Metrics::counter(std::string_view name, std::string_view help, Labels labels) {
  const std::lock_guard lock(mutex_);
  auto& cells = family(Type::kCounter, name, help).counters[labels_text(labels)];
  return *cells.emplace_back(std::make_unique<Counter>());
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, Labels labels) {
  const std::lock_guard lock(mutex_);
  auto& cells = family(Type::kGauge, name, help).gauges[labels_text(labels)];
  return *cells.emplace_back(std::make_unique<Gauge>());
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help,
                              std::vector<double> bounds, Labels labels) {
  const std::lock_guard lock(mutex_);
  auto& cells = family(Type::kHistogram, name, help).histograms[labels_text(labels)];
  SLUICE_CHECK(cells.empty() || cells.front()->bounds() == bounds);
  return *cells.emplace_back(std::make_unique<Histogram>(std::move(bounds)));
}

void Metrics::collect(Type type, std::string_view name, std::string_view help, Collect collect) {
  SLUICE_CHECK(type != Type::kHistogram);
  const std::lock_guard lock(mutex_);
  family(type, name, help).collects.push_back(std::move(collect));
}

void Metrics::collect_value(Type type, std::string_view name, std::string_view help,
                            std::function<double()> value) {
  collect(type, name, help, [value = std::move(value)] {
    return std::vector<Sample>{Sample{{}, value()}};
  });
}

std::string Metrics::text() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) {
    std::string samples;
    for (const auto& [labels, cells] : family.counters) {
      append_sample(samples, name, labels, fmt::format("{}", sum_of(cells)));
    }
    for (const auto& [labels, cells] : family.gauges) {
      append_sample(samples, name, labels, fmt::format("{}", sum_of(cells)));
    }
    for (const auto& [labels, cells] : family.histograms) {
      append_histogram(samples, name, labels, cells);
    }
    for (const Collect& collect : family.collects) {
      for (const Sample& sample : collect()) {
        append_sample(samples, name, labels_text(sample.labels), number_text(sample.value));
      }
    }
    if (samples.empty()) {
      continue;
    }
    fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name, family.help, name,
                   type_name(family.type));
    out += samples;
  }
  return out;
}

namespace {

double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  file >> size >> resident;
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds_of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

double open_fds() {
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) {
    return 0;
  }
  double count = -3;  // ".", ".." and the directory itself
  while (::readdir(directory) != nullptr) {
    ++count;
  }
  ::closedir(directory);
  return count;
}

double max_fds() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

}  // namespace

void add_process_metrics(Metrics& metrics) {
  using Type = Metrics::Type;
  const double start = static_cast<double>(to_ms(system_wall())) / 1000;
  metrics.collect_value(Type::kGauge, "process_start_time_seconds",
                        "Start time of the process since the Unix epoch.",
                        [start] { return start; });
  metrics.collect_value(Type::kCounter, "process_cpu_seconds_total",
                        "User and system CPU time spent.", cpu_seconds);
  metrics.collect_value(Type::kGauge, "process_resident_memory_bytes", "Resident memory size.",
                        resident_bytes);
  metrics.collect_value(Type::kGauge, "process_open_fds", "Open file descriptors.", open_fds);
  metrics.collect_value(Type::kGauge, "process_max_fds", "The most file descriptors allowed.",
                        max_fds);
  metrics
      .gauge("sluice_build_info", "The version that runs; always 1.", {{"version", SLUICE_VERSION}})
      .set(1);
}

}  // namespace sluice::telemetry
