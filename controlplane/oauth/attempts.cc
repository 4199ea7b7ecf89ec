#include "controlplane/oauth/attempts.h"

#include <fmt/format.h>

#include "controlplane/model/limits.h"

namespace sluice::controlplane::oauth {
absl::Status Attempts::check(const std::string& key, Mono now) {
  const std::lock_guard lock(mutex_);
  const auto found = counts_.find(key);
  if (found == counts_.end() || found->second.failures < failures_max_) {
    return absl::OkStatus();
  }
  const nanoseconds left = found->second.begin + window_ - now;
  if (left <= nanoseconds::zero()) {
    counts_.erase(found);
    return absl::OkStatus();
  }
  refused_.fetch_add(1, std::memory_order_relaxed);
  return resource_exhausted(fmt::format("too many failed attempts; try again in {} s",
                                        duration_cast<seconds>(left).count() + 1));
}

void Attempts::failed(const std::string& key, Mono now) {
  if (key.empty()) {
    return;
  }
  const std::lock_guard lock(mutex_);
  if (counts_.size() >= limits::kAttemptKeysMax) {
    make_room(now);
  }
  Count& count = counts_.try_emplace(key, Count{0, now}).first->second;
  if (now >= count.begin + window_) {
    count = Count{0, now};
  }
  ++count.failures;
}

void Attempts::succeeded(const std::string& key) {
  const std::lock_guard lock(mutex_);
  counts_.erase(key);
}

void Attempts::make_room(Mono now) {
  std::erase_if(counts_, [&](const auto& entry) { return now >= entry.second.begin + window_; });
  // All of them fresh: somebody has very many addresses. Forgetting is better than growing, and
  // better than locking everybody out.
  if (counts_.size() >= limits::kAttemptKeysMax) {
    counts_.clear();
  }
}

}  // namespace sluice::controlplane::oauth
