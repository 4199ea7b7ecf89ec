// Bookkeeping that both kinds of server stream share: what waits to be sent, and which revisions
// are still on their way.
#pragma once

#include <cstdint>
#include <map>

#include "proxy/base/check.h"
#include "proxy/sync/resource.h"

namespace sluice::sync {

// A resource that waits to be sent.
struct Pending {
  std::int64_t revision = 0;  // of the first change that is not sent yet
  bool must_answer = false;   // newly named: sent even if the client has it, absent ones as removed
  bool retry = false;         // was refused; tried again because something else changed
  ResourcePtr resource;       // null: absent
  absl::Status error;         // instead of either
  bool error_told = false;    // it went out once; waits for the view to answer again
};

// The revisions whose changes are waiting or unanswered, with how many resources each.
class OpenRevisions {
 public:
  void add(std::int64_t revision) { ++counts_[revision]; }
  void remove(std::int64_t revision) {
    const auto it = counts_.find(revision);
    SLUICE_CHECK(it != counts_.end());
    if (--it->second == 0) {
      counts_.erase(it);
    }
  }
  // The newest revision with nothing open at or before it, `considered` being the newest seen.
  std::int64_t acknowledged(std::int64_t considered) const {
    return counts_.empty() ? considered : counts_.begin()->first - 1;
  }
  bool empty() const { return counts_.empty(); }

 private:
  std::map<std::int64_t, std::size_t> counts_;
};

}  // namespace sluice::sync
