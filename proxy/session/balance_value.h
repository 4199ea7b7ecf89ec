// What consistent hashing goes by, of one exchange.
#pragma once

#include <cstdint>

#include "proxy/filter/exchange.h"
#include "proxy/upstream/cluster.h"

namespace sluice::session {

// The hash of what the cluster's hash_on names; the client's address stands in for what the
// exchange does not have. 0 where the cluster does not hash.
std::uint64_t balance_value(const upstream::Cluster& cluster, const filter::Exchange& exchange);

}  // namespace sluice::session
