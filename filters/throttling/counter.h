// The counters of limits: shared by all workers, exact, and kept while plans and chains are
// compiled anew.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "proxy/base/clock.h"

namespace sluice::filters::throttling {

// What one window admits. kNoLimit: as much as comes.
struct Allowance {
  static constexpr std::uint64_t kNoLimit = (std::uint64_t{1} << 48) - 1;
  std::uint64_t messages = kNoLimit;
  std::uint64_t bytes = kNoLimit;
};

// The use of one key's window. Any thread.
//
// A cell packs the window's generation (16 bits) and the use (48 bits). A charge is one
// compare-exchange that fails if it would pass the allowance, so within a generation never more
// than the allowance is admitted, and exactly it if enough is asked for. The generation rises
// whenever a window ends, which happens once whatever the number of threads and however their
// clocks differ: one that is behind charges the new window. What is given back after its window
// ended is ignored.
class Counter {
 public:
  // Which generations were charged, so that they can be given back.
  struct Charge {
    std::uint16_t messages = 0;
    std::uint16_t bytes = 0;
  };

  // Begins a new window if the present one is over. Windows of length `per` are aligned to the
  // epoch.
  void roll(Wall now, nanoseconds per) {
    if (now.time_since_epoch().count() >= end_.load(std::memory_order_acquire)) [[unlikely]] {
      begin_window(now, per);
    }
  }
  // As roll; and where the length differs, the present window ends when one of the new length
  // would. Its use is kept.
  void adopt(Wall now, nanoseconds per);

  // Whether a message of this size would be admitted now.
  bool admits(const Allowance& allowance, std::uint64_t bytes) const {
    return use(messages_) < allowance.messages && fits(use(bytes_), bytes, allowance.bytes);
  }
  // Nothing more is admitted in this window.
  bool used_up(const Allowance& allowance) const {
    return use(messages_) >= allowance.messages ||
           (allowance.bytes != Allowance::kNoLimit && use(bytes_) >= allowance.bytes);
  }
  // Admits one message, or charges nothing.
  bool charge(const Allowance& allowance, std::uint64_t bytes, Charge& charge) {
    if (!add(messages_, 1, allowance.messages, charge.messages)) {
      return false;
    }
    if (allowance.bytes == Allowance::kNoLimit ||
        add(bytes_, bytes, allowance.bytes, charge.bytes)) {
      return true;
    }
    take(messages_, 1, charge.messages);
    return false;
  }
  void give_back(const Allowance& allowance, std::uint64_t bytes, const Charge& charge) {
    take(messages_, 1, charge.messages);
    if (allowance.bytes != Allowance::kNoLimit) {
      take(bytes_, bytes, charge.bytes);
    }
  }
  // What belongs to a message that was admitted before.
  void add_bytes(std::uint64_t bytes);

  Wall end() const { return Wall(nanoseconds(end_.load(std::memory_order_acquire))); }
  std::uint64_t messages() const { return use(messages_); }
  std::uint64_t bytes() const { return use(bytes_); }

 private:
  using Cell = std::atomic<std::uint64_t>;
  static constexpr int kUseBits = 48;
  static constexpr std::uint64_t kUseMask = Allowance::kNoLimit;

  static std::uint64_t use(const Cell& cell) {
    return cell.load(std::memory_order_relaxed) & kUseMask;
  }
  static bool fits(std::uint64_t used, std::uint64_t more, std::uint64_t limit) {
    return used <= limit && more <= limit - used;
  }
  static bool add(Cell& cell, std::uint64_t n, std::uint64_t limit, std::uint16_t& generation) {
    std::uint64_t value = cell.load(std::memory_order_relaxed);
    do {
      if (!fits(value & kUseMask, n, limit)) [[unlikely]] {
        return false;
      }
    } while (!cell.compare_exchange_weak(value, value + n, std::memory_order_relaxed));
    generation = static_cast<std::uint16_t>(value >> kUseBits);
    return true;
  }
  static void take(Cell& cell, std::uint64_t n, std::uint16_t generation);
  static void reset(Cell& cell);
  void begin_window(Wall now, nanoseconds per);
  void begin_window_locked(Wall now, nanoseconds per);

  alignas(64) std::atomic<std::int64_t> end_{INT64_MIN};  // wall time, nanoseconds
  Cell messages_{0};
  Cell bytes_{0};
  nanoseconds per_{0};  // of the present window; under mutex_
  std::mutex mutex_;    // once a window
};

// All counters by level and key. Any thread; used at open and recheck, never for a message.
class CounterTable {
 public:
  // The counter, made if there is none. Counters that nobody holds are forgotten when their window
  // is over and the table has grown.
  std::shared_ptr<Counter> get(const std::string& key, Wall now);

  std::size_t size() const;

 private:
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<std::string, std::shared_ptr<Counter>> counters;
    std::size_t sweep_at = 64;
  };
  static void sweep(Shard& shard, Wall now);

  std::array<Shard, 16> shards_;
};

}  // namespace sluice::filters::throttling
