// One exchange from its request head to its record: what a session's coroutine builds, and what
// the worker keeps while a WebSocket lives.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/config/snapshot.h"
#include "proxy/filter/chain.h"
#include "proxy/filter/exchange.h"
#include "proxy/session/backend_handshake.h"
#include "proxy/session/context.h"
#include "proxy/session/relay.h"
#include "proxy/session/transfer.h"

namespace sluice::session {

// Worker thread. Its destructor is the one scope guard of every exchange: close hooks, record,
// access log, counters.
class Connection {
 public:
  explicit Connection(SessionContext& context);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  filter::Exchange& exchange() { return exchange_; }
  filter::FilterInstances* filters() { return filters_.get(); }
  Relay* relay() { return relay_.get(); }

  // Pins the API and makes the exchange's filters from the chain.
  void use(std::shared_ptr<const config::CompiledApi> api,
           std::shared_ptr<const filter::FilterChain> chain);
  // Keeps what is known of the principal's token for as long as the exchange lives, so that every
  // change to it is heard of. False: it was forgotten since it was looked up.
  bool hold_token();
  // What the backend's side holds of its upstream, until the end.
  void hold_backend(BackendUse use) { backend_.emplace(std::move(use)); }
  const config::CompiledApi* api() const { return api_.get(); }

  // Registers what the exchange depends on.
  void begin_relay(Relay::Parts parts, std::string from_client, std::string from_backend);

  // A request to an HTTP API: its transfer runs (null: it is over).
  void set_transfer(Transfer* transfer) { transfer_ = transfer; }
  // The transfer takes long, or the time of a recheck has come: from the first call on it is told
  // of changes, listed, and has a slot.
  void watch();
  // Puts the counts of a watched request, which would be lost with the process, into a slot.
  void move_to_slot();
  // Closes what is live.
  void close(filter::CloseCause cause);

  // Something it depends on changed: adopts its API of `snapshot` (none: it is closed) and
  // rechecks.
  void recheck(const config::Snapshot& snapshot);

  // Set by the worker: the position in its table, and for the order of rechecks.
  std::size_t live_index = 0;
  std::size_t registry_index = 0;

 private:
  void register_interests();
  void forget_interests();
  void log_access(telemetry::AccessEntry::Event event);

  SessionContext& context_;
  filter::Exchange exchange_;
  std::shared_ptr<const config::CompiledApi> api_;
  std::unique_ptr<filter::FilterInstances> filters_;
  std::optional<BackendUse> backend_;
  std::unique_ptr<Relay> relay_;
  Transfer* transfer_ = nullptr;
  std::uint64_t changes_ = 0;  // the worker's count when the API was looked up
  std::vector<InterestIndex::Node> interests_;
  std::vector<std::string> logged_request_;  // what the access log shows of the head
  telemetry::Counts counts_;                 // at the end
  bool relay_was_live_ = false;
  bool watched_ = false;
  bool pinned_ = false;  // the token stays in the directory while we live
};

}  // namespace sluice::session
