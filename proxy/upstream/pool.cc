#include "proxy/upstream/pool.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "proxy/base/plant.h"

namespace sluice::upstream {
namespace {

bool is_literal(const std::string& host) {
  in6_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

net::ConnectTarget target_of(const Cluster& cluster, const model::Endpoint& endpoint,
                             const EndpointState& state) {
  net::ConnectTarget target;
  target.host = state.address();
  target.port = endpoint.port;
  if (endpoint.tls) {
    target.tls = cluster.tls;
    target.server_name = cluster.server_name.empty() ? endpoint.host : cluster.server_name;
  }
  return target;
}

absl::Status full(const Cluster& cluster, std::string_view what, std::uint64_t max) {
  return resource_exhausted(
      fmt::format("{} has as many {} as its breaker allows ({})", cluster.name, what, max));
}

}  // namespace

// ---- what is held

Lease::Lease(std::shared_ptr<const Cluster> cluster, std::shared_ptr<ClusterState> cluster_state,
             const Host& host, Unit unit)
    : cluster_(std::move(cluster)),
      endpoint_(host.endpoint),
      cluster_state_(std::move(cluster_state)),
      state_(host.state),
      held_(cluster_state_, unit) {
  state_->active.fetch_add(1, std::memory_order_relaxed);
  state_->leases.fetch_add(1, std::memory_order_relaxed);
}

Lease& Lease::operator=(Lease&& other) noexcept {
  Lease former(std::move(*this));  // dies after the change
  cluster_ = std::move(other.cluster_);
  endpoint_ = other.endpoint_;
  cluster_state_ = std::move(other.cluster_state_);
  state_ = std::move(other.state_);
  held_ = std::move(other.held_);
  return *this;
}

Lease::~Lease() {
  if (state_ != nullptr) {
    state_->active.fetch_sub(1, std::memory_order_relaxed);
  }
}

ConnectionHold::ConnectionHold(Held held, std::shared_ptr<EndpointState> state)
    : held_(std::move(held)), state_(std::move(state)) {
  state_->connections.fetch_add(1, std::memory_order_relaxed);
}

ConnectionHold& ConnectionHold::operator=(ConnectionHold&& other) noexcept {
  ConnectionHold former(std::move(*this));
  held_ = std::move(other.held_);
  state_ = std::move(other.state_);
  return *this;
}

ConnectionHold::~ConnectionHold() {
  if (state_ != nullptr) {
    state_->connections.fetch_sub(1, std::memory_order_relaxed);
  }
}

// ---- calls

Call::Call(Pool& pool, std::shared_ptr<const Cluster> cluster, Use use, std::uint64_t hash)
    : pool_(pool),
      cluster_(std::move(cluster)),
      state_(pool.entry(cluster_).state),
      use_(use),
      hash_(hash) {}

Task<absl::StatusOr<Dialled>> Call::dial(TakeIdle take_idle) {
  const Mono deadline = pool_.loop_.clock().now() + cluster_->connect_timeout;
  SLUICE_CO_RETURN_IF_ERROR(begin());
  SLUICE_CO_RETURN_IF_ERROR(co_await pool_.prepare(cluster_, deadline));
  while (true) {
    absl::StatusOr<Lease> leased = lease();
    if (!leased.ok()) {
      co_return leased.status();
    }
    if (std::optional<Connected> idle = take_idle ? take_idle(*leased) : std::nullopt) {
      Dialled dialled{*std::move(idle), *std::move(leased), true};
      co_return dialled;
    }
    absl::StatusOr<Connected> connected = co_await pool_.connect(*leased, share_of(deadline));
    if (connected.ok()) {
      Dialled dialled{*std::move(connected), *std::move(leased), false};
      co_return dialled;
    }
    if (!absl::IsUnavailable(connected.status()) &&
        !absl::IsDeadlineExceeded(connected.status())) {
      co_return connected.status();
    }
    all_timed_out_ = all_timed_out_ && absl::IsDeadlineExceeded(connected.status());
    reasons_ += fmt::format("{}{}: {}", reasons_.empty() ? "" : "; ", leased->endpoint().url,
                            message_of(connected.status()));
    if (!begin_retry()) {
      co_return none_left();
    }
  }
}

absl::Status Call::begin() {
  if (cluster_->endpoints.empty()) {
    return unavailable(fmt::format("{} has no endpoint", cluster_->name));
  }
  if (!pending_.holds()) {
    if (!state_->take(Unit::kPending, cluster_->breakers.pending_max)) {
      return full(*cluster_, "handshakes and requests waiting", cluster_->breakers.pending_max);
    }
    pending_ = Held(state_, Unit::kPending);
  }
  return absl::OkStatus();
}

absl::StatusOr<Lease> Call::lease() {
  const Choice choice = choose(pool_.entry(cluster_).hosts, *cluster_, hash_, tried_,
                               pool_.loop_.clock().now(), pool_.loop_.rng());
  if (choice.host == nullptr) {
    if (!tried_.empty()) {
      return none_left();
    }
    state_->none_well.fetch_add(1, std::memory_order_relaxed);
    return failed_precondition(fmt::format("no endpoint of {} is well", cluster_->name));
  }
  const bool websocket = use_ == Use::kWebSocket;
  const Unit unit = websocket ? Unit::kWebSocket : Unit::kRequest;
  const std::uint64_t max =
      websocket ? cluster_->breakers.websockets_max : cluster_->breakers.requests_max;
  if (!state_->take(unit, SLUICE_PLANT(kBreakerOneTooMany) && max > 0 ? max + 1 : max)) {
    return full(*cluster_, websocket ? "WebSockets" : "requests", max);
  }
  if (choice.panic) {
    state_->panics.fetch_add(1, std::memory_order_relaxed);
  }
  if (!tried_.empty() && retry_.holds()) {
    state_->retries.fetch_add(1, std::memory_order_relaxed);
  }
  tried_.push_back(choice.host->state);
  return Lease(cluster_, state_, *choice.host, unit);
}

// An even share of what is left, so that an endpoint that swallows packets leaves time for others.
Mono Call::share_of(Mono deadline) const {
  const std::size_t untried = pool_.entry(cluster_).hosts.size() - tried_.size();
  const std::size_t tries = std::min<std::size_t>(untried, cluster_->retry.tries - retries_);
  const Mono now = pool_.loop_.clock().now();
  return now + (deadline - now) / static_cast<std::int64_t>(1 + tries);
}

bool Call::may_retry(int status) {
  const std::vector<int>& statuses = cluster_->retry.statuses;
  const bool wanted =
      status == 0 || std::find(statuses.begin(), statuses.end(), status) != statuses.end();
  return wanted && begin_retry();
}

bool Call::begin_retry() {
  const Retry& retry = cluster_->retry;
  if (retries_ >= retry.tries || tried_.size() >= pool_.entry(cluster_).hosts.size()) {
    return false;
  }
  retry_.reset();
  std::uint64_t budget = std::max<std::uint64_t>(
      retry.budget_min, state_->in_use(Unit::kPending) * retry.budget_percent / 100);
  if (SLUICE_PLANT(kRetriesUnbounded)) {
    budget += 1000;
  }
  if (budget == 0 || !state_->take(Unit::kRetry, budget)) {
    return false;
  }
  retry_ = Held(state_, Unit::kRetry);
  ++retries_;
  return true;
}

void Call::was_stale() { tried_.pop_back(); }

absl::Status Call::none_left() const {
  if (reasons_.empty()) {
    return unavailable(fmt::format("{}: no other endpoint is well", cluster_->name));
  }
  const std::string message = fmt::format("{}: {}", cluster_->name, reasons_);
  return all_timed_out_ ? deadline_exceeded(message) : unavailable(message);
}

// ---- the pool

Pool::Pool(net::Loop& loop, net::Resolver& resolver, StateTable& states)
    : Pool(
          loop,
          [&loop, &resolver](net::ConnectTarget target, Mono deadline) {
            return net::connect(loop, resolver, std::move(target), deadline);
          },
          [&loop, &resolver](std::string host, nanoseconds age_max, Mono deadline) {
            return resolver.resolve(loop, std::move(host), deadline, age_max);
          },
          states) {}

Pool::Pool(net::Loop& loop, Connect connect, Resolve resolve, StateTable& states)
    : loop_(loop),
      connect_(std::move(connect)),
      resolve_(std::move(resolve)),
      states_(states),
      tasks_(loop.executor()) {}

Task<absl::StatusOr<Connected>> Pool::connect(Lease& lease, Mono deadline) {
  const Cluster& cluster = lease.cluster();
  const std::uint64_t max = cluster.breakers.connections_max;
  if (!lease.cluster_state_->take(Unit::kConnection, max)) {
    co_return full(cluster, "connections", max);
  }
  Held held(lease.cluster_state_, Unit::kConnection);
  ConnectionHold hold(std::move(held), lease.state_);
  net::ConnectTarget target = target_of(cluster, lease.endpoint(), *lease.state_);
  absl::StatusOr<std::unique_ptr<net::Side>> side = co_await connect_(std::move(target), deadline);
  if (side.ok()) {
    lease.state_->connects.fetch_add(1, std::memory_order_relaxed);
    Connected connected{*std::move(side), std::move(hold), loop_.clock().now()};
    co_return connected;
  }
  const bool timed_out = absl::IsDeadlineExceeded(side.status());
  if (timed_out || absl::IsUnavailable(side.status())) {
    (timed_out ? lease.state_->connects_timed_out : lease.state_->connects_failed)
        .fetch_add(1, std::memory_order_relaxed);
    lease.failed(loop_.clock().now());
  }
  co_return side.status();
}

Task<absl::StatusOr<std::unique_ptr<net::Side>>> Pool::open(std::shared_ptr<const Cluster> cluster,
                                                            Host host, Mono deadline) {
  net::ConnectTarget target = target_of(*cluster, *host.endpoint, *host.state);
  co_return co_await connect_(std::move(target), deadline);
}

Pool::Entry& Pool::entry(const std::shared_ptr<const Cluster>& cluster) {
  std::unique_ptr<Entry>& found = entries_[cluster->name];
  if (found == nullptr) {
    sweep();
    // Sweeping moves the entries.
    std::unique_ptr<Entry>& made = entries_[cluster->name];
    made = std::make_unique<Entry>();
    made->state = states_.get(cluster->name);
    made->last = cluster;
    set_hosts(*made, *cluster);
    return *made;
  }
  const bool same = !found->last.owner_before(cluster) && !cluster.owner_before(found->last);
  if (!same) {
    found->last = cluster;
    std::erase_if(found->names, [&](const auto& name) {
      return std::none_of(cluster->endpoints.begin(), cluster->endpoints.end(),
                          [&](const model::Endpoint& one) { return one.host == name.first; });
    });
    set_hosts(*found, *cluster);
  }
  return *found;
}

void Pool::set_hosts(Entry& entry, const Cluster& cluster) {
  std::vector<ClusterState::Wanted> wanted;
  std::vector<const model::Endpoint*> endpoints;
  for (const model::Endpoint& endpoint : cluster.endpoints) {
    if (resolve_ == nullptr || is_literal(endpoint.host)) {
      wanted.push_back({endpoint.url, endpoint.host});
      endpoints.push_back(&endpoint);
      continue;
    }
    for (const std::string& address : entry.names[endpoint.host].addresses) {
      wanted.push_back({endpoint.url, address});
      endpoints.push_back(&endpoint);
    }
  }
  const std::vector<std::shared_ptr<EndpointState>> states =
      entry.state->adopt(wanted, loop_.clock().now());
  std::map<const EndpointState*, double> credits;
  for (const Host& host : entry.hosts) {
    credits[host.state.get()] = host.credit;
  }
  entry.hosts.clear();
  for (std::size_t i = 0; i < states.size(); ++i) {
    Host host;
    host.endpoint = endpoints[i];
    host.state = states[i];
    host.hash = balance_hash(wanted[i].url + ' ' + wanted[i].address);
    const auto known = credits.find(host.state.get());
    // A new one begins anywhere in its turn, so that workers that start together do not all begin
    // with the same endpoint.
    host.credit =
        known == credits.end() ? -loop_.rng().unit() * endpoints[i]->weight : known->second;
    entry.hosts.push_back(std::move(host));
  }
  std::stable_sort(entry.hosts.begin(), entry.hosts.end(), [](const Host& a, const Host& b) {
    return a.endpoint->priority < b.endpoint->priority;
  });
}

Task<absl::Status> Pool::prepare(std::shared_ptr<const Cluster> cluster, Mono deadline) {
  absl::Status problem;
  for (const model::Endpoint& endpoint : cluster->endpoints) {
    if (resolve_ == nullptr || is_literal(endpoint.host)) {
      continue;
    }
    Entry& now = entry(cluster);
    Name& name = now.names[endpoint.host];
    if (name.looked_up != Mono{} &&
        loop_.clock().now() < name.looked_up + cluster->dns_refresh && !now.hosts.empty()) {
      continue;
    }
    if (now.hosts.empty()) {
      co_await look_up(cluster, endpoint.host, deadline);
      problem = entry(cluster).names[endpoint.host].problem;
    } else if (!name.under_way) {
      name.under_way = true;
      tasks_.spawn(look_up(cluster, endpoint.host, loop_.clock().now() + limits::kConnectTimeout));
    }
  }
  co_return entry(cluster).hosts.empty() ? problem : absl::OkStatus();
}

// A name that cannot be looked up keeps its addresses.
Task<void> Pool::look_up(std::shared_ptr<const Cluster> cluster, std::string host, Mono deadline) {
  absl::StatusOr<std::vector<std::string>> found =
      co_await resolve_(host, cluster->dns_refresh, deadline);
  const auto it = entries_.find(cluster->name);
  if (it == entries_.end()) {
    co_return;  // forgotten meanwhile
  }
  Entry& now = *it->second;
  Name& name = now.names[host];
  name.looked_up = loop_.clock().now();
  name.under_way = false;
  name.problem = found.status();
  if (!found.ok()) {
    co_return;
  }
  found->resize(std::min(found->size(), limits::kAddressesMax));
  std::sort(found->begin(), found->end());
  if (name.addresses != *found) {
    name.addresses = *std::move(found);
    if (const std::shared_ptr<const Cluster> newest = now.last.lock()) {
      set_hosts(now, *newest);
    }
  }
}

// Clusters that no snapshot and no exchange holds any more are forgotten, at a cost that is spread
// over the calls that made them.
void Pool::sweep() {
  if (entries_.size() < sweep_at_) {
    return;
  }
  boost::unordered::erase_if(entries_, [](const auto& entry) {
    return entry.second == nullptr || entry.second->last.expired();
  });
  sweep_at_ = std::max<std::size_t>(256, entries_.size() * 2);
}

}  // namespace sluice::upstream
