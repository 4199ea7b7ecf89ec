// The workers of a process: publication with a barrier, rechecks, and what people ask of all of
// them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/config/compile.h"
#include "proxy/worker/publication.h"
#include "proxy/worker/worker.h"

namespace sluice::worker {

// Lives on the control thread; all calls and all callbacks are there.
class WorkerSet {
 public:
  struct Options {
    int workers = 1;
    std::size_t connections_max = 0;  // of the process
  };
  using Post = std::function<void(std::function<void()>)>;

  // `post_to_control` runs work on the control thread.
  WorkerSet(const Options& options, const ProcessServices& services, Post post_to_control);
  ~WorkerSet();

  // Binds what is new, hands the snapshot to every worker, and calls `done` when each has swapped
  // and rechecked. Returns a fault for each listener that could not be bound; it stays unbound
  // until a publication changes its address.
  std::vector<config::Fault> publish(Publication publication, std::function<void()> done);

  // Identities changed: rechecks the exchanges concerned.
  void recheck(std::vector<model::Subject> changed, std::function<void()> done);

  void connections(std::function<void(std::vector<ConnectionInfo>)> answer);
  void close_connection(std::string id, std::function<void(bool)> answer);
  struct Totals {
    session::SessionCounters sessions;
    std::uint64_t refused_no_descriptors = 0;
    std::size_t live = 0;
    std::size_t idle_connections = 0;  // to back ends, of HTTP APIs
  };
  void totals(std::function<void(Totals)> answer);

  // Starts draining; `done` when no connection is left or the time is over.
  void drain(nanoseconds delay, nanoseconds time, std::function<void()> done);
  // Ends everything at once. Idempotent.
  void stop();

  // Where the listeners are bound now.
  const Bindings& bindings() const { return bindings_; }
  bool published() const { return published_; }
  std::size_t live_connections() const;
  int workers() const { return static_cast<int>(workers_.size()); }

 private:
  // Runs `work` on every worker, then `done` on the control thread.
  void on_all(std::function<void(Worker&)> work, std::function<void()> done);
  // Adds a line for people to `announcements` for each listener that is bound anew.
  std::vector<config::Fault> update_bindings(const config::Snapshot& snapshot,
                                             std::vector<std::string>& announcements);

  Post post_;
  Bindings wanted_;    // as configured (port 0 possible)
  Bindings bindings_;  // as bound
  std::vector<std::unique_ptr<Worker>> workers_;
  bool published_ = false;
};

}  // namespace sluice::worker
