// The proxy's real parts, joined as its main does it but with late mailboxes in place of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "proxy/config/compile.h"
#include "proxy/config/directory.h"
#include "proxy/sync/config_client.h"
#include "proxy/sync/identity_client.h"
#include "proxy/telemetry/account.h"
#include "proxy/telemetry/recorder.h"
#include "proxy/worker/worker.h"
#include "tests/simulation/channel.h"
#include "tests/simulation/checks.h"
#include "tests/simulation/discovery_link.h"
#include "tests/simulation/endpoints.h"
#include "tests/simulation/records.h"

namespace sluice::simulation {

class RealProxy {
 public:
  struct Parts {
    Schedule& schedule;
    Chance& chance;
    Checks& checks;
    Report& report;
    Backends& backends;
    const filter::FilterRegistry& filters;
  };
  explicit RealProxy(const Parts& parts);
  ~RealProxy();

  bool disk_full = false;  // last-good cannot be saved

  worker::Worker& worker() { return *worker_; }
  sync::ConfigClient& config() { return config_; }
  MemorySink& sink() { return sink_; }
  DiscoveryLink::Client config_half();
  DiscoveryLink::Client identity_half();

  // Moves both threads' clocks.
  void advance(Mono mono, Wall wall);
  // Turns until nothing moves.
  void settle();
  // The recorder's turn; how many records became durable.
  std::size_t record() { return recorder_.turn(worker_->loop().clock().wall()); }
  // When a timer of either thread is due.
  Mono next() const;
  // Nothing is on its way between the threads.
  bool at_rest() const { return to_worker_.empty() && to_control_.empty() && disk_.empty(); }

 private:
  worker::ProcessServices services();
  sync::ConfigClient::Environment config_environment();
  sync::IdentityClient::Environment identity_environment();
  void persist(std::function<void(absl::Status)> done);

  Parts parts_;
  filter::SharedState shared_;
  config::Directory directory_;
  upstream::StateTable upstreams_;
  std::unique_ptr<telemetry::AccountTable> accounts_;
  MemorySink sink_;
  telemetry::Recorder recorder_;
  Clock clock_;        // the control thread's
  TimerWheel timers_;  // likewise
  Mailbox to_worker_;
  Mailbox to_control_;
  Mailbox disk_;
  sync::ConfigClient config_;
  sync::IdentityClient identity_;
  std::unique_ptr<worker::Worker> worker_;
};

}  // namespace sluice::simulation
