// Connections to back ends that wait for another request, one worker's.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "proxy/base/limits.h"
#include "proxy/base/timer_wheel.h"
#include "proxy/net/loop.h"
#include "proxy/net/side.h"
#include "proxy/upstream/pool.h"

namespace sluice::upstream {

// Loop thread only. A connection that its back end ends, breaks or sends bytes on is closed at
// once; so is one that nobody took for the cluster's idle_timeout, or that comes to its age_max.
class IdleConnections {
 public:
  explicit IdleConnections(net::Loop& loop);
  ~IdleConnections();
  IdleConnections(const IdleConnections&) = delete;
  IdleConnections& operator=(const IdleConnections&) = delete;

  // The connection to the lease's endpoint that was put last. None if there is none, or those that
  // there are were made with other trust than the cluster has now.
  std::optional<Connected> take(const Lease& lease);

  // `connection`: to the lease's endpoint, fit for another request. Closed where it is too old, or
  // limits::kUpstreamIdlePerEndpointMax or kUpstreamIdleMax wait already.
  void put(const Lease& lease, Connected connection);

  std::size_t size() const { return size_; }

 private:
  class Entry;
  std::unique_ptr<Entry> remove(const EndpointState* key, std::size_t index);
  void close(Entry& entry);

  net::Loop& loop_;
  // An entry's hold keeps its key from being another endpoint's.
  boost::unordered_flat_map<const EndpointState*, std::vector<std::unique_ptr<Entry>>> entries_;
  std::size_t size_ = 0;
};

}  // namespace sluice::upstream
