#include "proxy/options.h"

#include <fmt/core.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>

#include "proxy/base/limits.h"
#include "proxy/telemetry/access_format.h"

namespace sluice {
namespace {

// As text, before the words are understood.
struct Raw {
  std::string config;
  std::string control;
  std::vector<std::string> listen;
  std::string admin = "127.0.0.1:9901";
  std::string probe;
  std::string drain_delay = "5s";
  std::string drain_time = "20s";
};

void declare(CLI::App& app, Options& o, Raw& raw) {
  app.set_version_flag("--version", SLUICE_VERSION);
  app.add_option("--config", raw.config, "YAML file with the flags below as keys; flags win");
  app.add_option("--static", o.static_file,
                 "serve this resource file, with no control plane; HUP reads it again");
  app.add_option("--control", raw.control, "control plane's gRPC address HOST:PORT[,HOST:PORT...]");
  app.add_option("--node-id", o.node_id, "name of this proxy in its group (default: host name)");
  app.add_option("--data-dir", o.data_dir,
                 "last-good configuration, spool, slots, certificates, admin token");
  app.add_option("--workers", o.workers, "worker threads (default: one a core)")
      ->check(CLI::Range(1, 256));
  app.add_option("--listen", raw.listen,
                 "NAME=ADDR:PORT: bind a listener elsewhere than its resource says");
  app.add_option("--admin", raw.admin, "admin endpoints")->capture_default_str();
  app.add_option("--probe", raw.probe, "also serve /ready, /live and /stats/prometheus here");
  app.add_option("--join-token-file", o.join_token_file,
                 "token of `sluicectl join-token create`, for the first start");
  app.add_option("--tls-cert", o.tls_cert, "client certificate, instead of a join token");
  app.add_option("--tls-key", o.tls_key, "its key");
  app.add_option("--tls-ca", o.tls_ca, "CA of the control plane");
  app.add_option("--drain-delay", raw.drain_delay, "accept on for so long after TERM")
      ->capture_default_str();
  app.add_option("--drain-time", raw.drain_time, "then close live connections over this time")
      ->capture_default_str();
  app.add_flag("--insecure-plaintext", o.insecure_plaintext,
               "speak to the control plane in plain text, and allow --admin beyond loopback");
  app.add_flag("--validate", o.validate, "check the configuration and end with 0 or 1");
  app.add_option("--access-log", o.access_log, "a path, - (stdout) or off")->capture_default_str();
  app.add_option("--access-log-format", o.access_log_format,
                 "json (every field), text, or a format such as '%TIME% %REQ(:PATH)% "
                 "%RESPONSE_CODE%' or '{\"path\":\"%REQ(:PATH)%\"}'")
      ->capture_default_str();
  app.add_option("--log-level", o.log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
}

// Gives every key of the file that no flag was given for to its option.
absl::Status apply_config(CLI::App& app, const std::string& path) {
  YAML::Node root;
  try {
    root = YAML::LoadFile(path);
  } catch (const YAML::Exception& error) {
    return invalid_argument(
        fmt::format("{}:{}: {}", path, error.mark.line + 1, std::string(error.msg)));
  }
  if (!root.IsMap()) {
    return invalid_argument(fmt::format("{}: must be a map of flags, e.g. `workers: 2`", path));
  }
  for (const auto& entry : root) {
    const auto key = entry.first.as<std::string>();
    const int line = entry.first.Mark().line + 1;
    CLI::Option* option = key == "config" ? nullptr : app.get_option_no_throw("--" + key);
    if (option == nullptr) {
      return invalid_argument(
          fmt::format("{}:{}: {}: no such setting; see --help", path, line, key));
    }
    if (option->count() > 0) {
      continue;
    }
    try {
      if (entry.second.IsSequence()) {
        for (const auto& value : entry.second) {
          option->add_result(value.as<std::string>());
        }
      } else {
        option->add_result(entry.second.as<std::string>());
      }
      option->run_callback();
    } catch (const std::exception& error) {
      return invalid_argument(fmt::format("{}:{}: {}: {}", path, line, key, error.what()));
    }
  }
  return absl::OkStatus();
}

absl::Status understand(const Raw& raw, Options& o) {
  for (std::size_t begin = 0; begin < raw.control.size();) {
    const std::size_t end = std::min(raw.control.find(',', begin), raw.control.size());
    if (end > begin) {
      o.control.push_back(raw.control.substr(begin, end - begin));
    }
    begin = end + 1;
  }
  for (const std::string& text : raw.listen) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos) {
      return invalid_argument(fmt::format("--listen {}: must be NAME=ADDR:PORT", text));
    }
    SLUICE_ASSIGN_OR_RETURN(o.listen[text.substr(0, equals)],
                            parse_binding(text.substr(equals + 1)));
  }
  SLUICE_ASSIGN_OR_RETURN(o.admin, parse_binding(raw.admin));
  if (!raw.probe.empty()) {
    SLUICE_ASSIGN_OR_RETURN(o.probe, parse_binding(raw.probe));
  }
  SLUICE_ASSIGN_OR_RETURN(o.drain_delay, parse_duration(raw.drain_delay));
  SLUICE_ASSIGN_OR_RETURN(o.drain_time, parse_duration(raw.drain_time));
  if (const auto format = telemetry::AccessFormat::parse(o.access_log_format); !format.ok()) {
    return invalid_argument(fmt::format("--access-log-format: {}", message_of(format.status())));
  }
  if (o.static_file.empty() == o.control.empty()) {
    return invalid_argument(
        "give either --control HOST:PORT (with --data-dir) or --static FILE; see --help");
  }
  if (o.static_file.empty() && o.data_dir.empty()) {
    return invalid_argument(
        "--data-dir is needed with --control: certificates and spool live there");
  }
  if (o.node_id.empty()) {
    char host[256] = "proxy";
    (void)gethostname(host, sizeof host - 1);
    o.node_id = host;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<worker::Binding> parse_binding(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  worker::Binding out;
  if (colon != std::string_view::npos) {
    std::string_view address = text.substr(0, colon);
    if (address.size() > 2 && address.front() == '[' && address.back() == ']') {
      address = address.substr(1, address.size() - 2);
    }
    out.address = address;
    const std::string_view port = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
    if (!address.empty() && error == std::errc() && end == port.data() + port.size() &&
        !port.empty()) {
      return out;
    }
  }
  return invalid_argument(
      fmt::format("{}: must be ADDR:PORT, e.g. 127.0.0.1:9901 or [::1]:0", text));
}

absl::StatusOr<nanoseconds> parse_duration(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  constexpr std::int64_t kLargest = 365LL * 24 * 3600 * 1000;
  if (error == std::errc() && number >= 0 && number <= kLargest) {
    if (unit == "ms") {
      return nanoseconds(milliseconds(number));
    }
    if (unit == "s") {
      return nanoseconds(seconds(number));
    }
    if (unit == "m") {
      return nanoseconds(std::chrono::minutes(number));
    }
    if (unit == "h") {
      return nanoseconds(std::chrono::hours(number));
    }
  }
  return invalid_argument(fmt::format("{}: must be a duration such as 500ms, 5s, 2m, 1h", text));
}

ParsedOptions parse_options(int argc, char** argv) {
  ParsedOptions parsed;
  Raw raw;
  CLI::App app("The Sluice data plane: relays WebSockets through a filter chain.", "sluice-proxy");
  declare(app, parsed.options, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    parsed.exit_status = app.exit(error) == 0 ? 0 : 2;
    return parsed;
  }
  absl::Status status = raw.config.empty() ? absl::OkStatus() : apply_config(app, raw.config);
  if (status.ok()) {
    status = understand(raw, parsed.options);
  }
  if (!status.ok()) {
    std::fprintf(stderr, "sluice-proxy: %s\n", std::string(message_of(status)).c_str());
    parsed.exit_status = 2;
  }
  return parsed;
}

}  // namespace sluice
