// The command line of sluice-proxy and its --config file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/status.h"
#include "proxy/worker/publication.h"

namespace sluice {

struct Options {
  std::string static_file;
  std::vector<std::string> control;  // HOST:PORT, in order of preference
  std::string node_id;
  std::string data_dir;
  int workers = 0;  // 0: one a core
  worker::Bindings listen;
  worker::Binding admin{"127.0.0.1", 9901};
  std::optional<worker::Binding> probe;
  std::string join_token_file;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_ca;
  nanoseconds drain_delay{};
  nanoseconds drain_time{};
  bool insecure_plaintext = false;
  bool validate = false;
  std::string access_log = "-";  // a path, `-` (stdout) or `off`
  std::string access_log_format = "json";  // see telemetry::AccessFormat
  std::string log_level = "info";
};

// ADDR:PORT, with an IPv6 address in brackets.
absl::StatusOr<worker::Binding> parse_binding(std::string_view text);
// 500ms, 5s, 2m, 1h.
absl::StatusOr<nanoseconds> parse_duration(std::string_view text);

// Parses the arguments and the --config file (flags win). Prints help, version or errors itself;
// then the exit status is set and the options are not to be used.
struct ParsedOptions {
  Options options;
  std::optional<int> exit_status;
};
ParsedOptions parse_options(int argc, char** argv);

}  // namespace sluice
