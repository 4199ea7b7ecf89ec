#include "filters/throttling/counter.h"

#include <algorithm>
#include <functional>

namespace sluice::filters::throttling {
namespace {

// Of the window that holds `now`.
std::int64_t end_of_window(Wall now, nanoseconds per) {
  const std::int64_t t = now.time_since_epoch().count();
  const std::int64_t length = std::max<std::int64_t>(per.count(), 1);
  return (t / length + 1) * length;
}

}  // namespace

void Counter::take(Cell& cell, std::uint64_t n, std::uint16_t generation) {
  std::uint64_t value = cell.load(std::memory_order_relaxed);
  do {
    if (static_cast<std::uint16_t>(value >> kUseBits) != generation) {
      return;
    }
  } while (!cell.compare_exchange_weak(value, value - std::min(n, value & kUseMask),
                                       std::memory_order_relaxed));
}

void Counter::add_bytes(std::uint64_t bytes) {
  std::uint64_t value = bytes_.load(std::memory_order_relaxed);
  while (!bytes_.compare_exchange_weak(
      value, value + std::min(bytes, kUseMask - (value & kUseMask)), std::memory_order_relaxed)) {
  }
}

void Counter::reset(Cell& cell) {
  // A charge that comes between the load and the store belongs to the window that ends here.
  const std::uint64_t generation = (cell.load(std::memory_order_relaxed) >> kUseBits) + 1;
  cell.store(generation << kUseBits, std::memory_order_relaxed);
}

void Counter::begin_window(Wall now, nanoseconds per) {
  const std::lock_guard lock(mutex_);
  if (now.time_since_epoch().count() >= end_.load(std::memory_order_relaxed)) {
    begin_window_locked(now, per);
  }
}

void Counter::begin_window_locked(Wall now, nanoseconds per) {
  reset(messages_);
  reset(bytes_);
  per_ = per;
  // After the cells: who sees the new end sees an empty window.
  end_.store(end_of_window(now, per), std::memory_order_release);
}

void Counter::adopt(Wall now, nanoseconds per) {
  const std::lock_guard lock(mutex_);
  if (now.time_since_epoch().count() >= end_.load(std::memory_order_relaxed)) {
    begin_window_locked(now, per);
  } else if (per_ != per) {
    per_ = per;
    end_.store(end_of_window(now, per), std::memory_order_release);
  }
}

std::shared_ptr<Counter> CounterTable::get(const std::string& key, Wall now) {
  Shard& shard = shards_[std::hash<std::string>{}(key) % shards_.size()];
  const std::lock_guard lock(shard.mutex);
  if (shard.counters.size() >= shard.sweep_at) {
    sweep(shard, now);
  }
  std::shared_ptr<Counter>& counter = shard.counters[key];
  if (counter == nullptr) {
    counter = std::make_shared<Counter>();
  }
  return counter;
}

void CounterTable::sweep(Shard& shard, Wall now) {
  // Nobody can take a reference meanwhile: that needs the shard's mutex.
  std::erase_if(shard.counters, [now](const auto& entry) {
    return entry.second.use_count() == 1 && entry.second->end() <= now;
  });
  shard.sweep_at = std::max<std::size_t>(64, 2 * shard.counters.size());
}

std::size_t CounterTable::size() const {
  std::size_t size = 0;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    size += shard.counters.size();
  }
  return size;
}

}  // namespace sluice::filters::throttling
