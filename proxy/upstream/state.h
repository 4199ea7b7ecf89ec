// What all workers of a process know together of clusters and endpoints: use, health, ejection.
// Atomics, kept by name while configurations come and go; all that upstreams share and change.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/upstream/cluster.h"

namespace sluice::upstream {

// One address of one endpoint. Any thread.
class EndpointState {
 public:
  enum class Health : std::uint8_t { kUnknown, kHealthy, kUnhealthy };

  EndpointState(std::string url, std::string address, Mono now)
      : url_(std::move(url)), address_(std::move(address)), well_since_(now) {}

  const std::string& url() const { return url_; }
  // A literal address, or the host's name where it is not looked up here.
  const std::string& address() const { return address_; }

  // Whether it may have new work: not ejected, and not found unhealthy by checks.
  bool well(Mono now) const {
    return health_.load(std::memory_order_relaxed) != Health::kUnhealthy && !ejected(now);
  }
  bool ejected(Mono now) const { return now < ejected_until(); }
  Mono ejected_until() const { return ejected_until_.load(std::memory_order_relaxed); }
  Health health() const { return health_.load(std::memory_order_relaxed); }
  // What the checks found; slow start begins where it becomes healthy again.
  void set_health(Health health, Mono now);
  // Since when it takes new work without a break.
  Mono well_since() const {
    return std::max(well_since_.load(std::memory_order_relaxed), ejected_until());
  }

  // Gauges.
  std::atomic<std::uint64_t> active{0};       // leases: handshakes, requests, live WebSockets
  std::atomic<std::uint64_t> connections{0};  // open, or being made
  // Counters since it was first seen.
  std::atomic<std::uint64_t> leases{0};
  std::atomic<std::uint64_t> connects{0};  // made
  std::atomic<std::uint64_t> connects_failed{0};
  std::atomic<std::uint64_t> connects_timed_out{0};
  std::atomic<std::uint64_t> failed{0};  // leases that ended in a failure (Ejection)
  std::atomic<std::uint64_t> ejections{0};
  std::atomic<std::uint64_t> checks{0};
  std::atomic<std::uint64_t> checks_failed{0};

 private:
  friend class ClusterState;

  const std::string url_;
  const std::string address_;
  std::atomic<Health> health_{Health::kUnknown};
  std::atomic<std::uint32_t> failures_{0};  // in a row
  std::atomic<Mono> ejected_until_{Mono{}};
  std::atomic<Mono> well_since_;
  std::uint32_t successive_ = 0;  // ejections, under the cluster's mutex
};

// What breakers limit.
enum class Unit : std::uint8_t { kConnection, kPending, kRequest, kWebSocket, kRetry };
inline constexpr std::size_t kUnits = 5;

// Any thread.
class ClusterState {
 public:
  explicit ClusterState(std::string name) : name_(std::move(name)) {}

  const std::string& name() const { return name_; }

  // One more of `unit`, or false (counted) if there are `max` already; never more, whatever the
  // number of threads. 0: no limit.
  bool take(Unit unit, std::uint64_t max);
  void give(Unit unit) { use_of(unit).fetch_sub(1, std::memory_order_relaxed); }
  std::uint64_t in_use(Unit unit) const {
    return use_[static_cast<std::size_t>(unit)].load(std::memory_order_relaxed);
  }
  std::uint64_t overflows(Unit unit) const {
    return overflows_[static_cast<std::size_t>(unit)].load(std::memory_order_relaxed);
  }

  // The state of each address of each endpoint of the cluster, in the order of `wanted`; what there
  // was is kept. These are the cluster's endpoints from now on.
  struct Wanted {
    std::string url;
    std::string address;
  };
  std::vector<std::shared_ptr<EndpointState>> adopt(const std::vector<Wanted>& wanted, Mono now);

  // How a lease of `endpoint` went. Enough failures in a row eject it, unless too many are.
  void succeeded(EndpointState& endpoint) {
    endpoint.failures_.store(0, std::memory_order_relaxed);
  }
  void failed(EndpointState& endpoint, const Ejection& ejection, Mono now);

  std::vector<std::shared_ptr<const EndpointState>> endpoints() const;
  // Tries after the first; overflows(kRetry) are those that the budget refused.
  std::atomic<std::uint64_t> retries{0};
  // Calls that found no endpoint well, and those that used one that was not (panic).
  std::atomic<std::uint64_t> none_well{0};
  std::atomic<std::uint64_t> panics{0};

 private:
  std::atomic<std::uint64_t>& use_of(Unit unit) { return use_[static_cast<std::size_t>(unit)]; }

  const std::string name_;
  std::array<std::atomic<std::uint64_t>, kUnits> use_{};
  std::array<std::atomic<std::uint64_t>, kUnits> overflows_{};
  mutable std::mutex mutex_;  // of what follows and of EndpointState::successive_
  std::map<std::string, std::weak_ptr<EndpointState>, std::less<>> known_;  // by url and address
  std::vector<std::shared_ptr<EndpointState>> current_;
};

// All clusters in use, by name. Any thread; asked when a worker first uses a cluster, and by
// scrapes.
class StateTable {
 public:
  // The state, made if there is none. It lives as long as somebody holds it.
  std::shared_ptr<ClusterState> get(std::string_view name);
  // Null if nobody has used it.
  std::shared_ptr<ClusterState> find(std::string_view name) const;
  // All there are, by name.
  std::vector<std::shared_ptr<const ClusterState>> all() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::weak_ptr<ClusterState>, std::less<>> states_;
  std::size_t sweep_at_ = 256;
};

}  // namespace sluice::upstream
