#include "proxy/upstream/pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::upstream {

Pool::Pool(net::Loop& loop, net::Resolver& resolver)
    : Pool(loop, [&loop, &resolver](net::ConnectTarget target, Mono deadline) {
        return net::connect(loop, resolver, std::move(target), deadline);
      }) {}

Pool::Pool(net::Loop& loop, Connect connect) : loop_(loop), connect_(std::move(connect)) {}

Task<absl::StatusOr<Dialled>> Pool::dial(std::shared_ptr<const Cluster> cluster) {
  const std::size_t count = cluster->endpoints.size();
  if (count == 0) {
    co_return unavailable(fmt::format("{} has no endpoint", cluster->name));
  }
  sweep();
  std::size_t first = 0;
  {
    State& state = states_[cluster->name];
    state.last = cluster;
    first = state.next++;
  }
  const Mono deadline = loop_.clock().now() + cluster->connect_timeout;
  std::string reasons;
  bool all_timed_out = true;
  for (std::size_t i = 0; i < count; ++i) {
    const model::Endpoint& endpoint = cluster->endpoints[(first + i) % count];
    // An even share, so that one that swallows packets leaves time for the others.
    const nanoseconds left = deadline - loop_.clock().now();
    const Mono attempt_deadline = loop_.clock().now() + left / static_cast<std::int64_t>(count - i);
    net::ConnectTarget target;
    target.host = endpoint.host;
    target.port = endpoint.port;
    if (endpoint.tls) {
      target.tls = cluster->tls;
      target.server_name = cluster->server_name;
    }
    ++states_[cluster->name].counters.dials;
    absl::StatusOr<std::unique_ptr<net::Side>> side =
        co_await connect_(std::move(target), attempt_deadline);
    if (side.ok()) {
      ++states_[cluster->name].counters.connected;
      Dialled dialled{*std::move(side), cluster, &endpoint};
      co_return dialled;
    }
    if (absl::IsCancelled(side.status())) {
      co_return side.status();
    }
    const bool timed_out = absl::IsDeadlineExceeded(side.status());
    all_timed_out = all_timed_out && timed_out;
    ClusterCounters& counters = states_[cluster->name].counters;
    ++(timed_out ? counters.timed_out : counters.refused);
    reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", endpoint.url,
                           message_of(side.status()));
  }
  const std::string message = fmt::format("{}: {}", cluster->name, reasons);
  co_return all_timed_out ? deadline_exceeded(message) : unavailable(message);
}

// Clusters that no snapshot and no exchange holds any more are forgotten, at a cost that is spread
// over the dials that made them.
void Pool::sweep() {
  if (states_.size() < sweep_at_) {
    return;
  }
  boost::unordered::erase_if(states_,
                             [](const auto& entry) { return entry.second.last.expired(); });
  sweep_at_ = std::max<std::size_t>(256, states_.size() * 2);
}

void Pool::visit(
    const std::function<void(std::string_view name, const ClusterCounters&)>& see) const {
  for (const auto& [name, state] : states_) {
    if (!state.last.expired()) {
      see(name, state.counters);
    }
  }
}

}  // namespace sluice::upstream
