// The data plane as a process: wires the rooms together and drives them from the control thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/timer_wheel.h"
#include "proxy/base/work_thread.h"
#include "proxy/config/compile.h"
#include "proxy/config/directory.h"
#include "proxy/config/snapshot.h"
#include "proxy/config/static_config.h"
#include "proxy/filter/registry.h"
#include "proxy/net/connect.h"
#include "proxy/net/loop.h"
#include "proxy/options.h"
#include "proxy/telemetry/access_log.h"
#include "proxy/telemetry/account.h"
#include "proxy/telemetry/metrics.h"
#include "proxy/telemetry/recorder.h"
#include "proxy/telemetry/sink.h"
#include "proxy/upstream/state.h"
#include "proxy/worker/worker_set.h"

namespace sluice {

// Waits for signals on a loop. They must be blocked in every thread.
class Signals;
// What only a proxy under a control plane has.
class Managed;
// The admin and probe ports.
class Operations;

// What both modes are built from, in order of construction; the last is destroyed first.
struct Parts {
  explicit Parts(const Options& options);

  const Options& options;
  net::Loop loop;              // the control thread's, which is main's
  filter::FilterRegistry registry;
  filter::SharedState shared;  // limits' counters: outlives every snapshot
  config::Directory directory;
  net::Resolver resolver;
  upstream::StateTable upstreams;  // outlives the workers and their leases
  telemetry::Metrics metrics;
  std::unique_ptr<telemetry::RecordSink> sink;
  std::unique_ptr<telemetry::AccountTable> accounts;
  std::unique_ptr<telemetry::Recorder> recorder;
  std::unique_ptr<telemetry::AccessLog> access_log;
  std::unique_ptr<worker::WorkerSet> workers;
  std::shared_ptr<const config::Snapshot> snapshot = config::Snapshot::empty();
  bool draining = false;

  config::CompileContext compile_context();
};

// One a process; everything on the thread that calls run().
class Process {
 public:
  explicit Process(Options options);
  ~Process();

  // Serves until it is told to end. The exit status.
  int run();
  // Checks the configuration and prints what is wrong. The exit status.
  int validate();

 private:
  absl::Status start();
  absl::Status open_telemetry();
  absl::Status load_static(bool first);
  void apply_static(config::StaticConfig config, config::CompileResult result);
  void start_disk_turns();
  void disk_turn();
  void on_signal(int signal);
  void begin_drain();
  void finish();
  std::string not_ready() const;

  Options options_;
  Parts parts_;
  WorkThread disk_;
  std::unique_ptr<Managed> managed_;
  std::unique_ptr<Operations> operations_;
  std::unique_ptr<Signals> signals_;
  Timer disk_timer_;
  bool disk_busy_ = false;
  int exit_status_ = 0;
};

}  // namespace sluice
