#include "proxy/upstream/state.h"

#include <algorithm>
#include <utility>

#include "proxy/base/plant.h"

namespace sluice::upstream {

void EndpointState::set_health(Health health, Mono now) {
  const Health before = health_.exchange(health, std::memory_order_relaxed);
  if (before == Health::kUnhealthy && health != before) {
    well_since_.store(now, std::memory_order_relaxed);
  }
}

bool ClusterState::take(Unit unit, std::uint64_t max) {
  std::atomic<std::uint64_t>& use = use_of(unit);
  std::uint64_t value = use.load(std::memory_order_relaxed);
  do {
    if (max > 0 && value >= max) {
      overflows_[static_cast<std::size_t>(unit)].fetch_add(1, std::memory_order_relaxed);
      return false;
    }
  } while (!use.compare_exchange_weak(value, value + 1, std::memory_order_relaxed));
  return true;
}

std::vector<std::shared_ptr<EndpointState>> ClusterState::adopt(const std::vector<Wanted>& wanted,
                                                                Mono now) {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<EndpointState>> states;
  for (const Wanted& one : wanted) {
    std::weak_ptr<EndpointState>& slot = known_[one.url + ' ' + one.address];
    std::shared_ptr<EndpointState> state = slot.lock();
    if (state == nullptr) {
      state = std::make_shared<EndpointState>(one.url, one.address, now);
      slot = state;
    }
    states.push_back(std::move(state));
  }
  // One that stands there twice has one state, and is one endpoint to ejection and scrapes.
  current_.clear();
  for (const std::shared_ptr<EndpointState>& state : states) {
    if (std::find(current_.begin(), current_.end(), state) == current_.end()) {
      current_.push_back(state);
    }
  }
  std::erase_if(known_, [](const auto& entry) { return entry.second.expired(); });
  return states;
}

void ClusterState::failed(EndpointState& endpoint, const Ejection& ejection, Mono now) {
  endpoint.failed.fetch_add(1, std::memory_order_relaxed);
  const std::uint32_t failures = endpoint.failures_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (ejection.failures == 0 || failures < ejection.failures) {
    return;
  }
  const std::lock_guard lock(mutex_);
  if (endpoint.ejected(now)) {
    return;
  }
  const auto out = static_cast<std::uint64_t>(
      std::count_if(current_.begin(), current_.end(),
                    [now](const auto& state) { return state->ejected(now); }));
  if (out > 0 && (out + 1) * 100 > ejection.percent_max * current_.size()) {
    return;
  }
  // Each stretch of the base time that it did well takes one of its former ejections back.
  const nanoseconds well = now - endpoint.ejected_until();
  const auto forgiven = static_cast<std::uint64_t>(well / ejection.time);
  endpoint.successive_ -=
      static_cast<std::uint32_t>(std::min<std::uint64_t>(forgiven, endpoint.successive_));
  const nanoseconds time = std::min<nanoseconds>(
      ejection.time_max, ejection.time * (std::int64_t{1} << std::min(endpoint.successive_, 20U)));
  ++endpoint.successive_;
  endpoint.failures_.store(0, std::memory_order_relaxed);
  endpoint.ejections.fetch_add(1, std::memory_order_relaxed);
  endpoint.ejected_until_.store(now + time, std::memory_order_relaxed);
}

std::vector<std::shared_ptr<const EndpointState>> ClusterState::endpoints() const {
  const std::lock_guard lock(mutex_);
  return {current_.begin(), current_.end()};
}

std::shared_ptr<ClusterState> StateTable::get(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto it = states_.find(name);
  std::shared_ptr<ClusterState> state = it == states_.end() ? nullptr : it->second.lock();
  if (state != nullptr) {
    return state;
  }
  if (states_.size() >= sweep_at_) {
    std::erase_if(states_, [](const auto& entry) { return entry.second.expired(); });
    sweep_at_ = std::max<std::size_t>(256, states_.size() * 2);
  }
  state = std::make_shared<ClusterState>(std::string(name));
  states_[state->name()] = state;
  return state;
}

std::shared_ptr<ClusterState> StateTable::find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto it = states_.find(name);
  return it == states_.end() ? nullptr : it->second.lock();
}

std::vector<std::shared_ptr<const ClusterState>> StateTable::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const ClusterState>> states;
  for (const auto& [name, weak] : states_) {
    if (auto state = weak.lock()) {
      states.push_back(std::move(state));
    }
  }
  return states;
}

}  // namespace sluice::upstream
