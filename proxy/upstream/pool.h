// One worker's way to the back ends: picks an endpoint, connects, counts.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/status.h"
#include "proxy/base/task.h"
#include "proxy/net/connect.h"
#include "proxy/upstream/cluster.h"

namespace sluice::upstream {

struct Dialled {
  std::unique_ptr<net::Side> side;         // paused, without a user
  std::shared_ptr<const Cluster> cluster;  // keeps `endpoint` alive
  const model::Endpoint* endpoint = nullptr;
};

// Since the worker's start.
struct ClusterCounters {
  std::uint64_t dials = 0;    // connections attempted, per endpoint
  std::uint64_t refused = 0;  // attempts that failed otherwise than by time
  std::uint64_t timed_out = 0;
  std::uint64_t connected = 0;
};

// Loop thread only. Must outlive its dials.
class Pool {
 public:
  // Makes one connection; net::connect in production, pipes in the simulation.
  using Connect = std::function<Task<absl::StatusOr<std::unique_ptr<net::Side>>>(
      net::ConnectTarget target, Mono deadline)>;

  Pool(net::Loop& loop, net::Resolver& resolver);
  Pool(net::Loop& loop, Connect connect);

  // Tries the endpoints in turn, beginning after the one that the last dial of a cluster of this
  // name began with, each at most once, all within connect_timeout (an attempt gets an even share
  // of what is left). UNAVAILABLE: none could be reached; DEADLINE_EXCEEDED: every attempt ran out
  // of time; CANCELLED. The message names the cluster and each endpoint's reason (for logs, not for
  // clients).
  Task<absl::StatusOr<Dialled>> dial(std::shared_ptr<const Cluster> cluster);

  // Calls `see` for every cluster that was dialled and still exists.
  void visit(const std::function<void(std::string_view name, const ClusterCounters&)>& see) const;

 private:
  struct State {
    std::size_t next = 0;
    ClusterCounters counters;
    std::weak_ptr<const Cluster> last;
  };
  void sweep();

  net::Loop& loop_;
  Connect connect_;
  boost::unordered_flat_map<std::string, State> states_;
  std::size_t sweep_at_ = 256;
};

}  // namespace sluice::upstream
