// The server's half of one state-of-the-world discovery stream (StreamAggregatedResources),
// sans-I/O: for foreign clients. Every response carries all that the client subscribes to of a
// type, and each resource travels in a discovery.v3.Resource, since ours have no name of their own.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/sync/delta_server.h"

namespace sluice::sync {

// Pull-based like DeltaServerStream. One thread.
class SotwServerStream {
 public:
  struct Options {
    std::vector<ResourceType> types = sluice_types();
    std::string control_plane;
  };

  SotwServerStream(ResourceView view, std::int64_t revision, Options options);

  // An error ends the stream.
  absl::Status on_request(const xds::DiscoveryRequest& request);
  void on_changes(std::int64_t revision, std::span<const ResourceChange> changes);
  // Anything may differ.
  void on_reset(std::int64_t revision);
  std::optional<xds::DiscoveryResponse> next();

  bool subscribed(std::string_view type_url, std::string_view name) const;
  bool requested(std::string_view type_url) const;
  // The view failed for some of what is named: call on_reset() and next() in a while.
  bool wants_retry() const { return wants_retry_; }
  std::int64_t revision() const { return revision_; }
  std::int64_t acknowledged_revision() const;
  std::vector<Refusal> refusals() const;

 private:
  struct Type {
    std::string url;
    bool listed = false;  // can be had by wildcard
    bool requested = false;
    bool wildcard = false;
    bool named = false;  // the client has named something: an empty list means nothing from now on
    bool dirty = false;
    bool must_answer = false;
    std::int64_t dirty_revision = 0;  // of the first unsent change
    std::set<std::string, std::less<>> names;
    std::string version;  // of the content sent last
    std::string nonce;    // sent last; empty: none
    std::int64_t sent_revision = 0;
    bool answered = true;
    std::vector<Refusal> refusals;

    bool subscribed(std::string_view name) const {
      return (wildcard && listed) || names.find(name) != names.end();
    }
  };
  struct Content {
    std::vector<ResourcePtr> resources;
    std::vector<std::pair<std::string, absl::Status>> errors;
    std::string version;
  };

  absl::StatusOr<Type*> type_of(std::string_view url);
  void subscribe(Type& type, const xds::DiscoveryRequest& request);
  void mark(Type& type, std::int64_t revision, bool must_answer);
  Content content(const Type& type) const;
  std::optional<xds::DiscoveryResponse> build(Type& type);

  ResourceView view_;
  Options options_;
  std::vector<std::unique_ptr<Type>> types_;
  std::int64_t revision_;
  std::uint64_t nonce_ = 0;
  bool wants_retry_ = false;
};

}  // namespace sluice::sync
