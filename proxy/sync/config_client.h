// The proxy's half of the configuration stream, sans-I/O: wildcard Secret, Upstream, Plan, Listener
// and Api over delta discovery. Each response is compiled, published and saved before it is
// answered: ACK means in force.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "proxy/config/compile.h"
#include "proxy/sync/refusal.h"
#include "proxy/sync/resource.h"

namespace sluice::sync {

using SendDelta = std::function<void(xds::DeltaDiscoveryRequest)>;

// Control thread; must outlive what it hands to its environment's callables.
class ConfigClient {
 public:
  struct Environment {
    std::function<config::CompileResult(std::shared_ptr<const config::Snapshot> base,
                                        const config::Delta& delta)>
        compile;
    // Puts the snapshot in force and calls `done`, once, when every worker serves it. Returns
    // faults of what could not be put in force (a listener that cannot bind).
    std::function<std::vector<config::Fault>(std::shared_ptr<const config::Snapshot> snapshot,
                                             std::vector<model::Subject> changed,
                                             std::function<void()> done)>
        publish;
    // Saves to last-good off this thread; `done`, once, on this thread. Null: nothing is saved.
    std::function<void(config::Delta delta, std::function<void(absl::Status)> done)> persist;
  };

  explicit ConfigClient(Environment environment);

  // Puts in force what the disk had; before the first connection. Returns all faults; `done` when
  // the workers serve it. An empty delta does nothing.
  std::vector<config::Fault> restore(const config::Delta& delta, std::function<void()> done);

  // A stream is up: subscribes with the versions held. `node` goes with the first message, and
  // again where its metadata.warnings change. `read` is called once for each response handled: the
  // carrier may deliver the next.
  void on_connected(const envoy::config::core::v3::Node& node, SendDelta send,
                    std::function<void()> read);
  void on_response(xds::DeltaDiscoveryResponse response);
  // What is in force stays; a response in work is finished but not answered.
  void on_disconnected();

  struct State {
    bool connected = false;
    bool in_force = false;  // a configuration is: the disk had one, or every type has come once
    bool synced = false;    // every type was answered and acknowledged on the present stream
    std::uint64_t responses = 0;
    std::uint64_t acks = 0;
    std::uint64_t nacks = 0;
    std::uint64_t unchanged = 0;      // resources that came although they were held
    std::uint64_t not_persisted = 0;  // responses in force whose save failed
    std::string persist_error;        // of the last save, empty if it was well
    std::size_t resources = 0;        // held
  };
  State state() const;
  // What is refused now, by kind and name.
  std::vector<config::Fault> refused() const;
  // Never null; the empty one before anything is in force.
  const std::shared_ptr<const config::Snapshot>& snapshot() const { return snapshot_; }

 private:
  struct Work {  // one response on its way through
    std::uint64_t stream = 0;
    std::string type_url;
    std::string nonce;
    std::size_t total = 0;
    config::Delta delta;
    std::vector<config::Fault> faults;
    std::vector<config::Fault> repeated;  // of resources that came again and still cannot be served
    std::string protocol_error;
  };

  void subscribe();
  void start_next();
  Work unpack(const xds::DeltaDiscoveryResponse& response);
  void unpack_resource(config::Kind kind, const xds::Resource& resource, Work& work);
  void apply(Work work);
  config::Delta settle(const config::Delta& delta, config::CompileResult result,
                       const std::vector<config::Fault>& unbound);
  void note(const config::Fault& fault, std::string version, bool by_publish);
  void save(Work work, config::Delta accepted);
  void answer(const Work& work);

  Environment environment_;
  std::shared_ptr<const config::Snapshot> snapshot_;
  std::map<config::ResourceKey, std::string> versions_;  // of what is in force
  // Refused at that version, with why.
  struct RefusedAt {
    std::string version;
    std::vector<config::Fault> faults;
    bool by_publish = false;
  };
  std::map<config::ResourceKey, RefusedAt> refused_;

  envoy::config::core::v3::Node node_;
  SendDelta send_;
  std::function<void()> read_;
  std::uint64_t stream_ = 0;  // counts streams; answers for an older one are not sent
  bool connected_ = false;
  bool told_persist_error_ = false;
  bool busy_ = false;
  bool subscribe_pending_ = false;
  bool published_ = false;
  bool restored_ = false;
  bool synced_once_ = false;
  std::deque<xds::DeltaDiscoveryResponse> queue_;
  std::set<std::string> answered_types_;
  State state_;
};

}  // namespace sluice::sync
