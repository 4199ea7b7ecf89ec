// Who is told of new revisions, and the newest one of each organisation.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "controlplane/store/store.h"

namespace sluice::controlplane::store {

// Any thread; callbacks run under its lock, on the thread that publishes. Handles must not outlive
// it.
class Feed {
 public:
  explicit Feed(std::map<std::string, std::int64_t> revisions) : revisions_(std::move(revisions)) {}

  std::int64_t revision(const std::string& organisation) const {
    std::lock_guard lock(mutex_);
    const auto found = revisions_.find(organisation);
    return found == revisions_.end() ? 0 : found->second;
  }

  void publish(const std::string& organisation, std::int64_t revision) {
    {
      std::lock_guard lock(mutex_);
      revisions_[organisation] = revision;
    }
    std::lock_guard lock(calling_);
    for (const auto& [id, subscriber] : subscribers_) {
      if (subscriber.organisation == organisation) {
        subscriber.callback(revision);
      }
    }
  }

  FeedHandle subscribe(const std::string& organisation,
                       std::function<void(std::int64_t)> callback) {
    std::lock_guard lock(calling_);
    const std::uint64_t id = ++last_id_;
    subscribers_.emplace(id, Subscriber{organisation, std::move(callback)});
    return FeedHandle([this, id] {
      std::lock_guard lock(calling_);
      subscribers_.erase(id);
    });
  }

 private:
  struct Subscriber {
    std::string organisation;
    std::function<void(std::int64_t)> callback;
  };

  mutable std::mutex mutex_;  // guards revisions_
  std::map<std::string, std::int64_t> revisions_;
  std::mutex calling_;  // guards what follows
  std::map<std::uint64_t, Subscriber> subscribers_;
  std::uint64_t last_id_ = 0;
};

}  // namespace sluice::controlplane::store
