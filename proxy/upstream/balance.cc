#include "proxy/upstream/balance.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "proxy/base/plant.h"

namespace sluice::upstream {
namespace {

// What an endpoint begins with under slow start, of its weight.
constexpr double kSlowStartPart = 0.1;

struct Pick {
  std::span<Host> level;  // of one priority
  const Cluster& cluster;
  std::uint64_t hash;
  const std::vector<std::shared_ptr<EndpointState>>& tried;
  Mono now;
  Rng& rng;

  bool may_use(const Host& host, bool panic) const {
    return (panic || host.state->well(now)) &&
           std::find(tried.begin(), tried.end(), host.state) == tried.end();
  }

  double weight(const Host& host) const {
    const double whole = host.endpoint->weight;
    const nanoseconds age = now - host.state->well_since();
    if (age >= cluster.slow_start) {
      return whole;
    }
    const double part = std::chrono::duration<double>(age) / cluster.slow_start;
    return whole * std::max(kSlowStartPart, part);
  }

  template <class Score>
  Host* best(bool panic, const Score& score) const {
    Host* found = nullptr;
    double highest = 0;
    for (Host& host : level) {
      if (may_use(host, panic)) {
        const double value = score(host);
        if (found == nullptr || value > highest) {
          found = &host;
          highest = value;
        }
      }
    }
    return found;
  }

  // nginx's smooth weighted round robin.
  Host* round_robin(bool panic) const {
    double sum = 0;
    Host* host = best(panic, [&](Host& one) {
      const double due = weight(one);
      sum += due;
      return one.credit += due;
    });
    if (host != nullptr) {
      host->credit -= sum;
    }
    return host;
  }

  Host* least_connections(bool panic) const {
    return best(panic, [&](const Host& host) {
      // Below one apart from the next whole count: equals are taken by chance.
      const double active = static_cast<double>(host.state->active.load(std::memory_order_relaxed));
      return -(active + 1.0 - 0.5 * rng.unit()) / weight(host);
    });
  }

  // Weighted rendezvous: every value ranks all hosts in an order of its own, so that a host that
  // goes leaves the others' values where they are.
  Host* consistent_hash(bool panic) const {
    return best(panic, [&](const Host& host) {
      const double chance = std::max(Rng(hash ^ host.hash).unit(), 0x1.0p-53);  // never log(0)
      return -static_cast<double>(host.endpoint->weight) / std::log(chance);
    });
  }

  Host* take(bool panic) const {
    switch (cluster.balance) {
      case Balance::kRoundRobin:
        return round_robin(panic);
      case Balance::kLeastConnections:
        return least_connections(panic);
      case Balance::kConsistentHash:
        return consistent_hash(panic);
    }
    return nullptr;
  }
};

}  // namespace

std::uint64_t balance_hash(std::string_view value) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a, which the users' mixing evens out
  for (const char c : value) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  return hash;
}

Choice choose(std::vector<Host>& hosts, const Cluster& cluster, std::uint64_t hash,
              const std::vector<std::shared_ptr<EndpointState>>& tried, Mono now, Rng& rng) {
  Choice choice;
  choice.well = false;
  std::span<Host> fullest;  // the level with the largest part well
  double part_of_fullest = -1;
  for (auto begin = hosts.begin(); begin != hosts.end();) {
    const auto end = std::find_if(begin, hosts.end(), [begin](const Host& host) {
      return host.endpoint->priority != begin->endpoint->priority;
    });
    const std::span<Host> level(begin, end);
    const auto well = static_cast<std::size_t>(std::count_if(
        level.begin(), level.end(), [now](const Host& host) { return host.state->well(now); }));
    if (well > 0 && well * 100 >= cluster.panic_percent * level.size()) {
      choice.well = true;
      choice.host = Pick{level, cluster, hash, tried, now, rng}.take(SLUICE_PLANT(kUsesEjected));
      if (choice.host != nullptr) {
        return choice;
      }
    }
    const double part = static_cast<double>(well) / static_cast<double>(level.size());
    if (part > part_of_fullest) {
      part_of_fullest = part;
      fullest = level;
    }
    begin = end;
  }
  if (!choice.well && cluster.panic_percent > 0 && !hosts.empty()) {
    choice.panic = true;
    choice.host = Pick{fullest, cluster, hash, tried, now, rng}.take(true);
  }
  return choice;
}

}  // namespace sluice::upstream
