#include "proxy/process.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <thread>
#include <utility>

#include "filters/all.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/managed.h"
#include "proxy/operations.h"
#include "proxy/signals.h"
#include "proxy/telemetry/json_sink.h"
#include "proxy/telemetry/spool.h"

namespace sluice {
namespace {

constexpr nanoseconds kDiskInterval = milliseconds(100);

int worker_count(const Options& options) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return options.workers > 0 ? options.workers : std::max(cores, 1);
}

// As many descriptors as the system allows: two a connection.
std::size_t raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit.rlim_cur;
}

}  // namespace

// A static file says all there is, so none of its tokens may be forgotten for lack of room.
Parts::Parts(const Options& o)
    : options(o),
      loop(system_seed()),
      directory(o.static_file.empty() ? limits::kTokensMax : SIZE_MAX) {
  filters::add_all_to(registry);
}

config::CompileContext Parts::compile_context() {
  const bool managed = options.static_file.empty();
  config::CompileContext context{
      registry, shared, managed ? config::Mode::kPerResource : config::Mode::kAllOrNothing,
      nullptr,  {},     {}};
  if (managed) {
    context.allows_local = [](std::string_view /*group*/) { return true; };
  }
  context.own_addresses = {fmt::format("{}:{}", options.admin.address, options.admin.port)};
  for (const auto& [name, binding] : options.listen) {
    context.listen[name] = config::ListenAddress{binding.address, binding.port};
  }
  return context;
}

Process::Process(Options options)
    : options_(std::move(options)),
      parts_(options_),
      disk_timer_([](void* self) { static_cast<Process*>(self)->disk_turn(); }, this) {}

Process::~Process() = default;

int Process::run() {
  const absl::Status status = start();
  if (!status.ok()) {
    log::error("{}", message_of(status));
    finish();
    return 1;
  }
  parts_.loop.run();
  finish();
  return exit_status_;
}

absl::Status Process::start() {
  const std::size_t descriptors = raise_descriptor_limit();
  if (!options_.data_dir.empty() && mkdir(options_.data_dir.c_str(), 0700) != 0 &&
      errno != EEXIST) {
    return unavailable(fmt::format("{}: cannot make the data directory: {}", options_.data_dir,
                                   std::generic_category().message(errno)));
  }
  SLUICE_RETURN_IF_ERROR(open_telemetry());  // first: recovers what an earlier process left open
  worker::ProcessServices services;
  services.resolver = &parts_.resolver;
  services.upstreams = &parts_.upstreams;
  services.directory = &parts_.directory;
  services.accounts = parts_.accounts.get();
  services.recorder = parts_.recorder.get();
  services.access_log = parts_.access_log.get();
  if (options_.static_file.empty()) {
    managed_ = std::make_unique<Managed>(parts_, disk_);
    services.ask_token = managed_->token_asker();
  } else {
    services.ask_token = [](Sha256, std::string,
                            const std::function<void(absl::StatusOr<model::Identity>)>& answer) {
      answer(model::Identity{});  // a static file says all there is
    };
  }
  worker::WorkerSet::Options set;
  set.workers = worker_count(options_);
  set.connections_max = std::min<std::size_t>(limits::kConnectionsMax, (descriptors - 200) / 2);
  parts_.workers = std::make_unique<worker::WorkerSet>(
      set, services, [this](std::function<void()> work) { parts_.loop.post(std::move(work)); });
  signals_ = std::make_unique<Signals>(parts_.loop, [this](int signal) { on_signal(signal); });
  Operations::Hooks hooks;
  hooks.not_ready = [this] { return not_ready(); };
  hooks.drain = [this] { begin_drain(); };
  hooks.managed = managed_.get();
  operations_ = std::make_unique<Operations>(parts_, std::move(hooks));
  SLUICE_RETURN_IF_ERROR(operations_->start());
  SLUICE_RETURN_IF_ERROR(managed_ != nullptr ? managed_->start() : load_static(true));
  start_disk_turns();
  return absl::OkStatus();
}

absl::Status Process::open_telemetry() {
  const std::string& data = options_.data_dir;
  if (options_.static_file.empty()) {
    telemetry::Spool::Options spool;
    spool.directory = data + "/spool";
    SLUICE_ASSIGN_OR_RETURN(auto sink, telemetry::Spool::open(std::move(spool)));
    parts_.sink = std::move(sink);
  } else if (data.empty()) {
    SLUICE_ASSIGN_OR_RETURN(auto sink, telemetry::JsonSink::to_stdout());
    parts_.sink = std::move(sink);
  } else {
    SLUICE_ASSIGN_OR_RETURN(auto sink, telemetry::JsonSink::open_file(data + "/records.jsonl"));
    parts_.sink = std::move(sink);
  }
  const std::string slots = data.empty() ? "" : data + "/slots";
  SLUICE_ASSIGN_OR_RETURN(parts_.accounts,
                          telemetry::AccountTable::open_file(slots, limits::kConnectionsMax,
                                                             parts_.sink->last_sequence()));
  parts_.recorder = std::make_unique<telemetry::Recorder>(*parts_.accounts, *parts_.sink);
  if (options_.access_log != "off") {
    SLUICE_ASSIGN_OR_RETURN(
        parts_.access_log,
        telemetry::AccessLog::open(options_.access_log, options_.access_log_format));
  }
  return absl::OkStatus();
}

// A bad file at the start ends the process; later it changes nothing.
absl::Status Process::load_static(bool first) {
  absl::StatusOr<config::StaticConfig> loaded = config::load_static_file(options_.static_file);
  SLUICE_RETURN_IF_ERROR(loaded.status());
  config::add_removals(loaded->delta, *parts_.snapshot);
  config::CompileResult result =
      config::compile(parts_.snapshot, loaded->delta, parts_.compile_context());
  if (!loaded->faults.empty() || !result.faults.empty()) {
    return invalid_argument(loaded->text(result.faults));
  }
  for (const std::string& warning : loaded->warnings) {
    log::warning("{}", warning);
  }
  if (!first || !options_.validate) {
    apply_static(*std::move(loaded), std::move(result));
  }
  return absl::OkStatus();
}

void Process::apply_static(config::StaticConfig config, config::CompileResult result) {
  std::vector<model::Subject> changed = parts_.directory.assign(std::move(config.identities));
  changed.insert(changed.end(), result.changed.begin(), result.changed.end());
  parts_.snapshot = result.snapshot;
  parts_.resolver.allow_local(result.snapshot->allows_local_endpoints());
  worker::Publication publication{result.snapshot, std::move(changed)};
  const std::vector<config::Fault> faults = parts_.workers->publish(
      std::move(publication), [] { log::info("the resource file is in force"); });
  if (!faults.empty() && parts_.workers->bindings().empty()) {
    log::error("no listener could be bound; ending");
    exit_status_ = 1;
    parts_.loop.stop();
  }
}

int Process::validate() {
  if (!options_.static_file.empty()) {
    const absl::Status status = load_static(true);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", std::string(message_of(status)).c_str());
      return 1;
    }
    std::printf("%s: valid\n", options_.static_file.c_str());
    return 0;
  }
  return Managed::validate(options_);
}

void Process::start_disk_turns() {
  parts_.loop.timers().arm(disk_timer_, parts_.loop.clock().now() + kDiskInterval);
}

// Records and log lines go to disk off the loops, one batch at a time.
void Process::disk_turn() {
  start_disk_turns();
  if (disk_busy_) {
    return;
  }
  disk_busy_ = true;
  disk_.post([this] {
    const Wall now = system_wall();
    parts_.accounts->heartbeat(now);
    const std::size_t taken = parts_.recorder->turn(now);
    if (parts_.access_log != nullptr) {
      parts_.access_log->flush();
    }
    parts_.loop.post([this, taken] {
      disk_busy_ = false;
      if (taken > 0 && managed_ != nullptr) {
        managed_->records_available();
      }
    });
  });
}

void Process::on_signal(int signal) {
  if (signal == SIGHUP) {
    log::info("HUP: reading files again");
    if (parts_.access_log != nullptr) {
      parts_.access_log->reopen();
    }
    if (managed_ == nullptr) {
      const absl::Status status = load_static(false);
      if (!status.ok()) {
        log::error("nothing was changed: {}", message_of(status));
      }
    }
    return;
  }
  if (parts_.draining) {
    log::info("second signal: ending at once");
    parts_.loop.stop();
    return;
  }
  begin_drain();
}

void Process::begin_drain() {
  if (parts_.draining) {
    return;
  }
  parts_.draining = true;
  log::info("draining: {} live connections", parts_.workers->live_connections());
  parts_.workers->drain(options_.drain_delay, options_.drain_time, [this] {
    log::info("drained");
    parts_.loop.stop();
  });
}

std::string Process::not_ready() const {
  if (parts_.draining) {
    return "draining";
  }
  if (!parts_.workers->published()) {
    return managed_ != nullptr ? managed_->waiting_for() : "no configuration is in force yet";
  }
  if (parts_.workers->bindings().empty()) {
    return "no listener is bound";
  }
  return "";
}

void Process::finish() {
  disk_timer_.cancel();
  if (parts_.workers != nullptr) {
    parts_.workers->stop();
  }
  if (managed_ != nullptr) {
    managed_->stop();
  }
  if (operations_ != nullptr) {
    operations_->stop();
  }
  signals_.reset();
  // What the workers said last goes to disk; a managed proxy's successor delivers it.
  disk_.post([this] {
    if (parts_.recorder != nullptr) {
      parts_.recorder->turn(system_wall());
    }
    if (parts_.access_log != nullptr) {
      parts_.access_log->flush();
    }
  });
}

}  // namespace sluice
