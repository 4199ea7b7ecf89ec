#include "tests/simulation/endpoint_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tests/simulation/world.h"

namespace sluice::simulation {
namespace {

constexpr std::string_view kAvoided =
    "an endpoint that is not well gets no new work while others are";
constexpr std::string_view kBounded = "breakers and budgets are never exceeded";
constexpr std::string_view kFound = "checks find out how endpoints are";

// From a choice to the handshake that the endpoint sees: a late dial, and the steps around it.
constexpr nanoseconds kDialTime = milliseconds(1200);
// A handshake that hangs holds what it has for as long.
constexpr nanoseconds kHandshakeTime = seconds(20);
// Of the checks that it takes, each with its interval, timeout and lateness.
constexpr nanoseconds kCheckTime = seconds(4);

std::string host_of(const std::string& url) {
  const std::size_t begin = url.find("//") + 2;
  return url.substr(begin, url.find(':', begin) - begin);
}

}  // namespace

bool EndpointBook::recently(Mono when) const { return when + kDialTime >= schedule_.now(); }

void EndpointBook::trouble(const std::string& host, bool begins) {
  if (begins) {
    troubles_.try_emplace(host, schedule_.now());
  } else {
    troubles_.erase(host);
  }
}

void EndpointBook::dialled(std::string_view host) {
  const Seen* avoided = nullptr;
  bool others = false;
  for (const auto& [url, seen] : seen_) {
    if (host_of(url) == host) {
      avoided = recently(seen.well) ? avoided : &seen;
    } else {
      others = others || (!recently(seen.unwell) && !recently(seen.first));
    }
  }
  if (avoided != nullptr && others) {
    report_.broken(kAvoided, fmt::format("{} got a handshake", host));
  }
}

bool EndpointBook::explains_full() const {
  return std::ranges::count_if(talks_, [this](const auto& talk) {
           return is_of_upstream(talk->api) && !talk->sandbox &&
                  (talk->state != Talk::State::kOver ||
                   talk->ended + kHandshakeTime >= schedule_.now());
         }) > kWebSocketsMax;
}

bool EndpointBook::all_well() const {
  const auto cluster = states_->find(kUpstream);
  if (cluster == nullptr) {
    return true;
  }
  const auto endpoints = cluster->endpoints();
  return std::ranges::all_of(endpoints,
                             [this](const auto& one) { return one->well(schedule_.now()); });
}

void EndpointBook::after_step() {
  const auto cluster = states_->find(kUpstream);
  if (cluster == nullptr) {
    return;
  }
  const Mono now = schedule_.now();
  std::map<std::string, Seen> former = std::exchange(seen_, {});
  bool any_well = false;
  for (const auto& state : cluster->endpoints()) {
    const auto known = former.find(state->url());
    Seen& seen = seen_[state->url()];
    seen = known == former.end() ? Seen{now, now, Mono{}} : known->second;
    const bool well = state->well(now);
    (well ? seen.well : seen.unwell) = now;
    any_well = any_well || well;
    check_health(seen, *state);
  }
  if (!any_well) {
    none_well_ = now;
  }
  check_limits(*cluster);
}

void EndpointBook::check_health(const Seen& seen, const upstream::EndpointState& state) {
  const auto trouble = troubles_.find(host_of(state.url()));
  if (trouble != troubles_.end() &&
      std::max(trouble->second, seen.first) + kCheckTime < schedule_.now() &&
      state.health() != upstream::EndpointState::Health::kUnhealthy) {
    report_.broken(kFound, fmt::format("{} fails and is not found unhealthy", state.url()));
  }
}

void EndpointBook::check_limits(const upstream::ClusterState& cluster) {
  const auto live = std::ranges::count_if(talks_, [](const auto& talk) {
    return talk->by_upstream && talk->accepted && talk->live() && !talk->client_vanished;
  });
  if (live > kWebSocketsMax) {
    report_.broken(kBounded, fmt::format("{} live WebSockets", live));
  }
  if (cluster.in_use(upstream::Unit::kRetry) > kRetriesMax) {
    report_.broken(kBounded, fmt::format("{} retries at a time",
                                         cluster.in_use(upstream::Unit::kRetry)));
  }
}

bool EndpointBook::nothing_held() const {
  return std::ranges::all_of(states_->all(), [](const auto& cluster) {
    for (std::size_t unit = 0; unit < upstream::kUnits; ++unit) {
      if (cluster->in_use(static_cast<upstream::Unit>(unit)) != 0) {
        return false;
      }
    }
    const auto endpoints = cluster->endpoints();
    return std::ranges::all_of(endpoints, [](const auto& endpoint) {
      return endpoint->active == 0 && endpoint->connections == 0;
    });
  });
}

}  // namespace sluice::simulation
