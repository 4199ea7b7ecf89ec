// One discovery stream as the hub sees it, whatever its variant.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/status.h"
#include "proxy/sync/delta_server.h"

namespace sluice::controlplane::discovery {

// The discovery thread.
class AdsStream {
 public:
  virtual ~AdsStream() = default;

  virtual void on_changes(std::int64_t revision, std::span<const sync::ResourceChange> changes) = 0;
  virtual void on_reset(std::int64_t revision) = 0;
  // Writes what can be written.
  virtual void pump() = 0;
  // The view failed for something; retry() in a while.
  virtual bool wants_retry() const = 0;
  virtual void retry() = 0;

  virtual bool requested(std::string_view type_url) const = 0;
  virtual std::int64_t acknowledged_revision() const = 0;
  virtual std::vector<sync::Refusal> refusals() const = 0;

  // Ends it after what is being written; `cut`: at once.
  virtual void finish(absl::Status status, bool cut) = 0;
};

}  // namespace sluice::controlplane::discovery
