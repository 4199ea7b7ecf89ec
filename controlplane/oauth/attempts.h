// Slows whoever guesses passwords or client secrets.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "proxy/base/clock.h"
#include "proxy/base/status.h"

namespace sluice::controlplane::oauth {

// Counts failures by key (a client's address, a user's name) in fixed windows. Any thread.
class Attempts {
 public:
  Attempts(std::size_t failures_max, nanoseconds window)
      : failures_max_(failures_max), window_(window) {}

  // RESOURCE_EXHAUSTED, with the seconds to wait, once the key has failed too often. Ask before
  // looking at the secret. An empty key is never counted.
  absl::Status check(const std::string& key, Mono now);
  void failed(const std::string& key, Mono now);
  void succeeded(const std::string& key);
  // How often check() said no, since the start.
  std::uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  struct Count {
    std::size_t failures = 0;
    Mono begin;
  };
  void make_room(Mono now);

  const std::size_t failures_max_;
  const nanoseconds window_;
  std::mutex mutex_;  // guards counts_
  std::unordered_map<std::string, Count> counts_;
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace sluice::controlplane::oauth
