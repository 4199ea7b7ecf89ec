// bench_load: see options.cc for the flags and README.md for the modes. Ends with 0 when every
// message came back as it was sent (ledger: when the report has been written), else 1, 2 on a wrong
// command line.
#include <fmt/core.h>

#include <boost/json/serialize.hpp>

#include "tests/bench/mode.h"

namespace sluice::bench {
namespace {

void print_text(const boost::json::object& report) {
  for (const auto& member : report) {
    if (!member.value().is_array()) {
      fmt::print("{:<16} {}\n", std::string(member.key()), boost::json::serialize(member.value()));
    }
  }
}

int run(int argc, char** argv) {
  const absl::StatusOr<Options> options = parse_options(argc, argv);
  if (!options.ok()) {
    fmt::print(stderr, "bench_load: {}\n", message_of(options.status()));
    return 2;
  }
  Driver driver(*options);
  const absl::Status ready = driver.prepare();
  if (!ready.ok()) {
    fmt::print(stderr, "bench_load: {}\n", message_of(ready));
    return 2;
  }
  const std::unique_ptr<Mode> mode = make_mode(driver);
  const bool bounded = options->messages > 0 || options->duration > nanoseconds(0);
  driver.run(*mode, options->mode == "idle" || (options->mode == "ledger" && !bounded));
  const boost::json::object report = mode->report();
  if (options->json) {
    print_line(report);
  } else {
    print_text(report);
  }
  return mode->passed() || options->mode == "ledger" ? 0 : 1;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) { return sluice::bench::run(argc, argv); }
