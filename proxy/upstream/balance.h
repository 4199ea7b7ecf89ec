// Which endpoint gets new work: priorities, panic, and the three ways to choose among equals.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/rng.h"
#include "proxy/upstream/cluster.h"
#include "proxy/upstream/state.h"

namespace sluice::upstream {

// One address that a worker may choose.
struct Host {
  const model::Endpoint* endpoint = nullptr;  // of the cluster
  std::shared_ptr<EndpointState> state;
  std::uint64_t hash = 0;  // of its URL and address
  double credit = 0;       // round robin: what it is still due
};

// The same on every proxy and at every start.
std::uint64_t balance_hash(std::string_view value);

struct Choice {
  Host* host = nullptr;  // null: none
  bool panic = false;    // too few were well, so that others were looked at, too
  bool well = true;      // with no host: whether there are any that are well but were tried
};

// The host for a call whose balance value has `hash` and that has tried `tried`. `hosts` by
// priority. With panic_percent a priority is used if that part of it is well; the first one is
// taken, or if there is none such, all of the one with the largest part. Costs one pass over the
// hosts; no allocation.
Choice choose(std::vector<Host>& hosts, const Cluster& cluster, std::uint64_t hash,
              const std::vector<std::shared_ptr<EndpointState>>& tried, Mono now, Rng& rng);

}  // namespace sluice::upstream
