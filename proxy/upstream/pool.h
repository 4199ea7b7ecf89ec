// One worker's way to the back ends. A Call is one handshake or request over all its tries; each
// try has a Lease of one endpoint and a connection to it. What breakers limit is given back by
// destructors.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/base/status.h"
#include "proxy/base/task.h"
#include "proxy/base/task_group.h"
#include "proxy/net/connect.h"
#include "proxy/upstream/balance.h"
#include "proxy/upstream/cluster.h"
#include "proxy/upstream/state.h"

namespace sluice::upstream {

class Pool;

// What a call is for, and which breakers limit it.
enum class Use : std::uint8_t { kWebSocket, kRequest };

// One unit of a cluster's breaker. May outlive the pool.
class Held {
 public:
  Held() = default;
  Held(std::shared_ptr<ClusterState> cluster, Unit unit)
      : cluster_(std::move(cluster)), unit_(unit) {}
  Held(Held&& other) noexcept : cluster_(std::move(other.cluster_)), unit_(other.unit_) {}
  Held& operator=(Held&& other) noexcept {
    if (this != &other) {
      reset();
      cluster_ = std::move(other.cluster_);
      unit_ = other.unit_;
    }
    return *this;
  }
  ~Held() { reset(); }

  bool holds() const { return cluster_ != nullptr; }
  void reset() {
    if (cluster_ != nullptr) {
      std::exchange(cluster_, nullptr)->give(unit_);
    }
  }

 private:
  std::shared_ptr<ClusterState> cluster_;  // null: nothing is held
  Unit unit_ = Unit::kPending;
};

// The use of one endpoint by one handshake and the WebSocket that comes of it, or by one request.
// Worker thread, and may outlive the pool.
class Lease {
 public:
  Lease(std::shared_ptr<const Cluster> cluster, std::shared_ptr<ClusterState> cluster_state,
        const Host& host, Unit unit);
  Lease(Lease&&) noexcept = default;
  Lease& operator=(Lease&& other) noexcept;
  ~Lease();

  const Cluster& cluster() const { return *cluster_; }
  const model::Endpoint& endpoint() const { return *endpoint_; }
  // Names the endpoint and its address: connections of equal keys lead to the same place.
  const EndpointState* key() const { return state_.get(); }

  // How the endpoint did, once a lease: what Ejection goes by.
  void succeeded() { cluster_state_->succeeded(*state_); }
  void failed(Mono now) { cluster_state_->failed(*state_, cluster_->ejection, now); }

 private:
  friend class Pool;
  friend class Call;

  std::shared_ptr<const Cluster> cluster_;
  const model::Endpoint* endpoint_;  // of the cluster
  std::shared_ptr<ClusterState> cluster_state_;
  std::shared_ptr<EndpointState> state_;  // null: moved from
  Held held_;
};

// Lives as long as its connection.
class ConnectionHold {
 public:
  ConnectionHold() = default;
  ConnectionHold(Held held, std::shared_ptr<EndpointState> state);
  ConnectionHold(ConnectionHold&&) noexcept = default;
  ConnectionHold& operator=(ConnectionHold&& other) noexcept;
  ~ConnectionHold();

 private:
  Held held_;
  std::shared_ptr<EndpointState> state_;
};

struct Connected {
  std::unique_ptr<net::Side> side;  // paused, without a user
  ConnectionHold hold;              // keep it as long as the side
  Mono made{};                      // when it was connected
};

struct Dialled {
  Connected connection;
  Lease lease;
  bool reused = false;  // an idle connection, not a new one
};

// One handshake or request, over all its tries. Worker thread; the pool and the loop outlive it.
// While it lives it counts as pending: destroy it when the answer has come.
class Call {
 public:
  Call(Pool& pool, std::shared_ptr<const Cluster> cluster, Use use, std::uint64_t hash);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // An idle connection to the lease's endpoint; none: a new one is made.
  using TakeIdle = std::function<std::optional<Connected>(const Lease&)>;

  // A connection to an endpoint that was not tried yet, within connect_timeout; as many tries as
  // Retry allows. RESOURCE_EXHAUSTED: a breaker is full; FAILED_PRECONDITION: no endpoint is well;
  // UNAVAILABLE: none could be reached; DEADLINE_EXCEEDED: every try ran out of time; CANCELLED.
  // The message names the cluster and each endpoint's reason (for logs, not for clients).
  Task<absl::StatusOr<Dialled>> dial(TakeIdle take_idle = nullptr);

  // After an answer with `status` that has not been passed on, or (0) none at all: whether dial()
  // should be called again. Its lease must be gone by then.
  bool may_retry(int status);
  // The reused connection was closed before it answered: dial() may go to the same endpoint again,
  // and that is no retry.
  void was_stale();

 private:
  absl::Status begin();
  absl::StatusOr<Lease> lease();
  Mono share_of(Mono deadline) const;
  bool begin_retry();
  absl::Status none_left() const;

  Pool& pool_;
  std::shared_ptr<const Cluster> cluster_;
  std::shared_ptr<ClusterState> state_;
  Use use_;
  std::uint64_t hash_;
  Held pending_;
  Held retry_;
  std::vector<std::shared_ptr<EndpointState>> tried_;
  std::uint32_t retries_ = 0;
  std::string reasons_;  // of those tried
  bool all_timed_out_ = true;
};

// Loop thread only. Must outlive its calls.
class Pool {
 public:
  // Makes one connection; net::connect in production, pipes in the simulation.
  using Connect = std::function<Task<absl::StatusOr<std::unique_ptr<net::Side>>>(
      net::ConnectTarget target, Mono deadline)>;
  // The addresses of a host name, not older than `age_max`. Null: names are left to Connect.
  using Resolve = std::function<Task<absl::StatusOr<std::vector<std::string>>>(
      std::string host, nanoseconds age_max, Mono deadline)>;

  Pool(net::Loop& loop, net::Resolver& resolver, StateTable& states);
  Pool(net::Loop& loop, Connect connect, Resolve resolve, StateTable& states);

  // A new connection to the lease's endpoint. RESOURCE_EXHAUSTED: the breaker is full. A failure
  // counts against the endpoint.
  Task<absl::StatusOr<Connected>> connect(Lease& lease, Mono deadline);

  // The addresses of the cluster's endpoints that are known now, by priority; until the next call.
  const std::vector<Host>& hosts(const std::shared_ptr<const Cluster>& cluster) {
    return entry(cluster).hosts;
  }
  // Looks up the names whose addresses are older than dns_refresh; waits only while no host is
  // known.
  Task<absl::Status> prepare(std::shared_ptr<const Cluster> cluster, Mono deadline);
  // A connection that no breaker counts and that is held against nobody (health checks).
  Task<absl::StatusOr<std::unique_ptr<net::Side>>> open(std::shared_ptr<const Cluster> cluster,
                                                        Host host, Mono deadline);

  // Ends what it does by itself (looking names up again); before it is destroyed busy() must be
  // false.
  void cancel() { tasks_.cancel(); }
  bool busy() const { return tasks_.size() > 0; }

  net::Loop& loop() { return loop_; }

 private:
  friend class Call;
  // What is known of a host name.
  struct Name {
    std::vector<std::string> addresses;
    Mono looked_up{};
    absl::Status problem;  // of the last time
    bool under_way = false;
  };
  // What this worker keeps of one cluster, by name.
  struct Entry {
    std::shared_ptr<ClusterState> state;
    std::weak_ptr<const Cluster> last;  // whose endpoints `hosts` are
    std::vector<Host> hosts;            // by priority
    std::map<std::string, Name> names;
  };
  Entry& entry(const std::shared_ptr<const Cluster>& cluster);
  void set_hosts(Entry& entry, const Cluster& cluster);
  Task<void> look_up(std::shared_ptr<const Cluster> cluster, std::string host, Mono deadline);
  void sweep();

  net::Loop& loop_;
  Connect connect_;
  Resolve resolve_;
  StateTable& states_;
  boost::unordered_flat_map<std::string, std::unique_ptr<Entry>> entries_;
  std::size_t sweep_at_ = 256;
  TaskGroup tasks_;
};

}  // namespace sluice::upstream
