// A thread with its loop, snapshot, listeners and connections; the only home of mutable state on
// the data path.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "proxy/base/task_group.h"
#include "proxy/net/connect.h"
#include "proxy/net/loop.h"
#include "proxy/session/connection.h"
#include "proxy/session/context.h"
#include "proxy/session/interests.h"
#include "proxy/upstream/checker.h"
#include "proxy/upstream/idle_connections.h"
#include "proxy/upstream/pool.h"
#include "proxy/worker/publication.h"

namespace sluice::worker {

// Built on the control thread; everything but the constructor, start, post and join runs on its
// own.
class Worker {
 public:
  struct Options {
    int index = 0;
    std::uint64_t seed = 0;
    std::size_t connections_max = 0;  // of this worker; live ones and handshakes
    net::Loop::ClockMode clock = net::Loop::ClockMode::kSystem;
  };

  Worker(const Options& options, const ProcessServices& services);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // ---- any thread
  void start();
  void post(std::function<void()> work) { loop_.post(std::move(work)); }
  // Ends the loop after cancelling what is left, and joins the thread.
  void stop_and_join();
  std::size_t live_connections() const { return live_count_.load(std::memory_order_relaxed); }

  // ---- its own thread
  net::Loop& loop() { return loop_; }
  void adopt(const Publication& publication, const Bindings& bindings);
  void recheck(const std::vector<model::Subject>& changed);
  const std::shared_ptr<const config::Snapshot>& snapshot() const { return snapshot_; }
  void collect(std::vector<ConnectionInfo>& out) const;
  bool close_connection(std::string_view id);
  // Accepts on for `delay`, then closes the live connections spread over `time`; then `done`.
  void drain(nanoseconds delay, nanoseconds time, std::function<void()> done);
  session::SessionCounters counters() const { return counters_; }
  std::uint64_t refused_no_descriptors() const;
  const upstream::IdleConnections& idle_connections() const { return idle_; }
  // Serves a side that no acceptor of ours made (the simulation).
  void serve(std::unique_ptr<net::Side> side, std::string_view listener);
  // Cancels handshakes and destroys live connections.
  void end_all();

 private:
  struct Bound {
    Binding binding;
    std::unique_ptr<net::Acceptor> acceptor;
  };

  void fill_context(const ProcessServices& services);
  Task<absl::StatusOr<model::Identity>> find_token(Sha256 hash, std::string client_address);
  void bind(const Bindings& bindings);
  void adopt_checks(const Publication& publication);
  void go_live(std::unique_ptr<session::Connection> connection);
  void end_live(session::Connection& connection);
  void close_idle_clients();
  Task<void> run_drain(nanoseconds delay, nanoseconds time, std::function<void()> done);

  int index_;
  std::size_t connections_max_;
  ProcessServices services_;
  net::Loop loop_;
  std::unique_ptr<upstream::Pool> pool_;
  std::unique_ptr<upstream::Checker> checker_;  // null: another worker makes the health checks
  upstream::IdleConnections idle_;
  filter::Services filter_services_;
  session::InterestIndex interests_;
  session::Registry<session::Client> clients_;
  session::Registry<session::Connection> requests_;
  session::SessionCounters counters_;
  session::SessionContext context_;
  std::shared_ptr<const config::Snapshot> snapshot_;
  std::map<std::string, Bound, std::less<>> bound_;
  std::vector<std::unique_ptr<session::Connection>> live_;
  std::atomic<std::size_t> live_count_{0};
  std::uint64_t changes_ = 0;
  std::size_t next_order_ = std::size_t{1} << 40;  // beyond every index of live_
  bool draining_ = false;
  TaskGroup tasks_;
  std::thread thread_;
};

}  // namespace sluice::worker
