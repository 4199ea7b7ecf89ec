// The load generator's command line.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/status.h"
#include "tests/bench/sockets.h"

namespace sluice::bench {

// Where connections go.
struct Target {
  Address address;
  std::string host;       // without port, for SNI and the name check
  std::string authority;  // for the Host header
  std::string path = "/";
  bool tls = false;
};

// ws://HOST[:PORT][/PATH] or wss://...; the host is looked up at once.
absl::StatusOr<Target> parse_url(std::string_view url);

struct Options {
  std::string mode;
  std::vector<Target> targets;      // connection i takes the i-th, in turn
  std::vector<std::string> tokens;  // likewise; an empty one sends no Authorization
  std::vector<std::string> headers;
  std::string ca_file;
  std::uint32_t connections = 1;
  std::uint32_t depth = 1;
  std::uint32_t opening_max = 128;
  std::size_t bytes = 128;
  std::uint64_t messages = 0;  // 0: no end by count
  double rate = 0;
  nanoseconds interval{0};
  nanoseconds warmup{0};
  nanoseconds duration{0};  // 0: no end by time
  nanoseconds linger = seconds(2);
  nanoseconds stall = seconds(10);
  std::vector<pid_t> cpu_of;
  bool echo_first = false;
  bool events = false;
  bool json = false;
};

// Exits on --help. The messages of failures are for people.
absl::StatusOr<Options> parse_options(int argc, const char* const* argv);

}  // namespace sluice::bench
