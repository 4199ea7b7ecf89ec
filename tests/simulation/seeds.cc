#include "tests/simulation/seeds.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "filters/all.h"
#include "proxy/base/log.h"

namespace sluice::simulation {
namespace {

std::atomic<std::uint64_t> seed_under_way{0};

// Async-signal-safe: digits by hand.
void tell_seed(int signal) {
  char text[64] = "\nsimulation: aborted; run again with SLUICE_SEED=";
  char* const digits = text + std::strlen(text);
  const auto end = std::to_chars(digits, text + sizeof(text) - 1, seed_under_way.load());
  *end.ptr = '\n';
  (void)!::write(STDERR_FILENO, text, static_cast<std::size_t>(end.ptr + 1 - text));
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

std::optional<std::uint64_t> number_from(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? std::nullopt
                         : std::optional<std::uint64_t>(std::strtoull(text, nullptr, 10));
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace

std::optional<Found> run_seeds(std::uint64_t first, std::uint64_t count) {
  log::silence();
  filter::FilterRegistry filters;
  filters::add_all_to(filters);
  std::signal(SIGABRT, tell_seed);
  std::signal(SIGSEGV, tell_seed);
  Options options;
  options.filters = &filters;
  std::string trace;
  if (const auto one = number_from("SLUICE_SEED")) {
    first = *one;
    count = 1;
    options.trace = &trace;
  } else {
    count = number_from("SLUICE_SEEDS").value_or(count);
  }
  const double begin = cpu_seconds();
  Outcome sum;
  std::uint64_t runs = 0;
  std::optional<Found> found;
  for (; runs < count && !found; ++runs) {
    options.seed = first + runs;
    seed_under_way = options.seed;
    const Outcome outcome = simulate(options);
    sum.seconds += outcome.seconds;
    sum.connections += outcome.connections;
    sum.messages += outcome.messages;
    sum.records += outcome.records;
    if (!outcome.violation.empty()) {
      found = Found{options.seed, outcome.violation};
    }
  }
  const double used = std::max(cpu_seconds() - begin, 1e-3);
  std::fputs(trace.c_str(), stderr);
  fmt::print(
      "{} seeds in {:.1f} s of CPU ({:.0f} a minute): {:.0f} s simulated, {} connections, {} "
      "messages, {} records\n",
      runs, used, static_cast<double>(runs) * 60 / used, sum.seconds, sum.connections,
      sum.messages, sum.records);
  if (found) {
    fmt::print("seed {}: {}\nrun it again with SLUICE_SEED={}\n", found->seed, found->violation,
               found->seed);
  }
  return found;
}

}  // namespace sluice::simulation
