#include "tests/bench/options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fstream>

#include "tests/bench/pattern.h"

namespace sluice::bench {
namespace {

nanoseconds from_seconds(double value) {
  return nanoseconds(static_cast<std::int64_t>(value * 1e9));
}

// The command line as typed, before it is made sense of.
struct Raw {
  std::vector<std::string> urls;
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  std::string path = "/";
  bool tls = false;
  std::string token;
  std::string token_file;
  double seconds = 0;
  double warmup = 0;
  double interval_ms = 0;
  double linger_ms = 2000;
  double stall_seconds = 10;
};

void declare(CLI::App& app, Raw& raw, Options& options) {
  app.add_option("mode", options.mode, "echo, handshake, idle, rate or ledger (see README.md)")
      ->required()
      ->check(CLI::IsMember({"echo", "handshake", "idle", "rate", "ledger"}));
  app.add_option("--urls", raw.urls, "ws:// or wss:// addresses, used in turn")->delimiter(',');
  app.add_option("--host", raw.host, "instead of --urls")->capture_default_str();
  app.add_option("--port", raw.port);
  app.add_option("--path", raw.path)->capture_default_str();
  app.add_flag("--tls", raw.tls);
  app.add_option("--ca", options.ca_file, "PEM file to verify servers with; else the system's");
  app.add_option("--token", raw.token, "bearer token of every connection");
  app.add_option("--tokens", raw.token_file, "file of tokens, one a line, used in turn");
  app.add_option("--header", options.headers, "further request header, `Name: value`");
  app.add_option("--connections", options.connections)->check(CLI::Range(1, 1'000'000));
  app.add_option("--opening", options.opening_max, "so many open at the same time")
      ->check(CLI::Range(1, 10'000));
  app.add_option("--depth", options.depth, "messages in flight per connection")
      ->check(CLI::Range(1, 100'000));
  app.add_option("--bytes", options.bytes, "payload of a message")
      ->check(CLI::Range(kPrologueBytes, std::size_t{1} << 30));
  app.add_option("--messages", options.messages, "stop after so many (ledger: per connection)");
  app.add_option("--seconds", raw.seconds, "stop after so long");
  app.add_option("--warmup", raw.warmup, "seconds before the measured ones");
  app.add_option("--interval-ms", raw.interval_ms, "ledger: time between a connection's messages");
  app.add_option("--rate", options.rate, "rate: messages a second, all connections together");
  app.add_option("--linger-ms", raw.linger_ms, "how long the last echoes may take");
  app.add_option("--stall-seconds", raw.stall_seconds, "give up after so long without progress");
  app.add_option("--cpu-of", options.cpu_of, "processes whose CPU time is counted too")
      ->delimiter(',');
  app.add_flag("--echo-first", options.echo_first, "idle: one echo on each before the silence");
  app.add_flag("--events", options.events, "ledger: a line for each close as it happens");
  app.add_flag("--json", options.json, "one JSON line in place of text");
}

absl::StatusOr<std::vector<std::string>> read_lines(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    return not_found(fmt::format("cannot read {}", path));
  }
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
  }
  if (lines.empty()) {
    return invalid_argument(fmt::format("{} holds no token", path));
  }
  return lines;
}

absl::Status add_targets(const Raw& raw, Options& options) {
  std::vector<std::string> urls = raw.urls;
  if (urls.empty()) {
    if (raw.port == 0) {
      return invalid_argument("where to? Give --urls, or --port with --host and --path");
    }
    urls.push_back(
        fmt::format("{}://{}:{}{}", raw.tls ? "wss" : "ws", raw.host, raw.port, raw.path));
  }
  for (const std::string& url : urls) {
    SLUICE_ASSIGN_OR_RETURN(Target target, parse_url(url));
    options.targets.push_back(std::move(target));
  }
  return absl::OkStatus();
}

absl::Status check(const Options& options) {
  const bool bounded = options.messages > 0 || options.duration > nanoseconds(0);
  if (options.mode == "rate" && options.rate <= 0) {
    return invalid_argument("rate needs --rate");
  }
  if (!bounded && options.mode != "idle" && options.mode != "ledger") {
    return invalid_argument(fmt::format("{} needs --seconds or --messages", options.mode));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Target> parse_url(std::string_view url) {
  Target target;
  target.tls = url.starts_with("wss://");
  if (!target.tls && !url.starts_with("ws://")) {
    return invalid_argument(fmt::format("{} does not begin with ws:// or wss://", url));
  }
  std::string_view rest = url.substr(url.find("//") + 2);
  const std::size_t slash = rest.find('/');
  if (slash != std::string_view::npos) {
    target.path = rest.substr(slash);
    rest = rest.substr(0, slash);
  }
  target.authority = rest;
  const std::size_t colon = rest.rfind(':');
  const bool has_port = colon != std::string_view::npos && rest.find(']', colon) == rest.npos;
  target.host = rest.substr(0, has_port ? colon : rest.npos);
  if (target.host.size() > 2 && target.host.front() == '[') {
    target.host = target.host.substr(1, target.host.size() - 2);
  }
  const std::string where =
      has_port ? std::string(rest) : fmt::format("{}:{}", rest, target.tls ? 443 : 80);
  SLUICE_ASSIGN_OR_RETURN(target.address, resolve(std::string_view(where)));
  return target;
}

absl::StatusOr<Options> parse_options(int argc, const char* const* argv) {
  Raw raw;
  Options options;
  CLI::App app("Load generator for WebSockets: checks every echoed byte.", "bench_load");
  declare(app, raw, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    std::exit(app.exit(help));
  } catch (const CLI::ParseError& error) {
    return invalid_argument(error.what());
  }
  SLUICE_RETURN_IF_ERROR(add_targets(raw, options));
  if (!raw.token_file.empty()) {
    SLUICE_ASSIGN_OR_RETURN(options.tokens, read_lines(raw.token_file));
  } else if (!raw.token.empty()) {
    options.tokens = {raw.token};
  }
  options.duration = from_seconds(raw.seconds);
  options.warmup = from_seconds(raw.warmup);
  options.interval = from_seconds(raw.interval_ms / 1000);
  options.linger = from_seconds(raw.linger_ms / 1000);
  options.stall = from_seconds(raw.stall_seconds);
  SLUICE_RETURN_IF_ERROR(check(options));
  return options;
}

}  // namespace sluice::bench
