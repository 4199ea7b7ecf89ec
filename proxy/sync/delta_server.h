// The server's half of one delta discovery stream (DeltaAggregatedResources), sans-I/O. The rules
// are those of Envoy's xds_protocol.rst and discovery.proto.
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

#include "proxy/base/limits.h"
#include "proxy/base/status.h"
#include "proxy/sync/pending.h"
#include "proxy/sync/refusal.h"
#include "proxy/sync/resource.h"

namespace sluice::sync {

// A resource that may have changed, come or gone.
struct ResourceChange {
  std::string_view type_url;
  std::string_view name;
};

// Pull-based: the carrier takes next() whenever it can write, so a slow client costs no queue, and
// what changes meanwhile is sent once. One thread.
class DeltaServerStream {
 public:
  struct Options {
    std::vector<ResourceType> types = sluice_types();  // in make-before-break order
    std::string control_plane;                         // shown to the client
    std::size_t response_bytes_max = limits::kDiscoveryResponseBytesMax;
    std::size_t unanswered_max = limits::kDiscoveryUnansweredMax;
  };

  // `revision` is the store's revision that the view shows now.
  DeltaServerStream(ResourceView view, std::int64_t revision, Options options);

  // An error ends the stream: the client broke the protocol or a limit.
  absl::Status on_request(const xds::DeltaDiscoveryRequest& request);

  // The view now shows `revision`; these resources may differ. Revisions never fall.
  void on_changes(std::int64_t revision, std::span<const ResourceChange> changes);

  // Anything may differ.
  void on_reset(std::int64_t revision);

  // The next response to write; none if all is sent, or too much is unanswered.
  std::optional<xds::DeltaDiscoveryResponse> next();

  // Whether a change to the resource concerns this client.
  bool subscribed(std::string_view type_url, std::string_view name) const;
  // Whether the client has asked for the type at all.
  bool requested(std::string_view type_url) const;

  // The newest revision all of whose changes this client has answered, or did not need.
  std::int64_t acknowledged_revision() const;

  // What the client has refused and not accepted since.
  std::vector<Refusal> refusals() const;

  // Responses sent and not yet answered.
  std::size_t unanswered() const { return sent_.size(); }
  // The view failed for some of what waits: call next() again in a while.
  bool wants_retry() const { return wants_retry_; }
  std::int64_t revision() const { return revision_; }

 private:
  struct Known {
    std::string version;            // as sent last, or as the client said; empty: sent as removed
    std::vector<Refusal> refusals;  // of that version
  };
  struct Type {
    ResourceType rule;
    bool requested = false;
    bool wildcard = false;
    // Removals wait until the client has answered once: a client that reconnects asks for all its
    // types at once, and those that refer to this one must be brought up to date first.
    bool hold_removals = false;
    bool empty_answer = false;  // a wildcard was asked for: answered even if nothing is to be told
    std::set<std::string, std::less<>> names;
    std::map<std::string, Known, std::less<>> known;
    std::map<std::string, Pending, std::less<>> unsorted;
    std::map<std::string, Pending, std::less<>> upserts;
    std::map<std::string, Pending, std::less<>> removals;
    std::set<std::string, std::less<>> refused;  // the keys of `known` that have refusals

    bool subscribed(std::string_view name) const {
      return (wildcard && rule.wildcard) || names.find(name) != names.end();
    }
  };
  struct SentEntry {
    std::string name;
    std::int64_t revision;
  };
  struct Sent {
    Type* type;
    std::vector<SentEntry> entries;
  };

  absl::StatusOr<Type*> type_of(std::string_view url);
  const Type* find_type(std::string_view url) const;
  absl::Status subscribe(Type& type, const xds::DeltaDiscoveryRequest& request);
  void subscribe_wildcard(Type& type);
  void unsubscribe(Type& type, std::string_view name);
  void forget(Type& type, std::string_view name);
  void on_answer(Type& type, const xds::DeltaDiscoveryRequest& request);
  void refuse(Type& type, const Sent& sent, const google::rpc::Status& error);
  void accept(Type& type, const std::string& name);
  void mark(Type& type, std::string_view name, std::int64_t revision, bool must_answer);
  void sort();
  bool sort_entry(Type& type, const std::string& name, Pending pending);
  bool sort_absent(Type& type, const std::string& name, Pending pending);
  void retry_refused();
  struct Building;
  std::optional<xds::DeltaDiscoveryResponse> build_upserts(Type& type);
  std::optional<xds::DeltaDiscoveryResponse> build_removals(Type& type);
  bool add_entry(Building& building, const std::string& name, const Pending& pending);
  void take_removals(Building& building);
  xds::DeltaDiscoveryResponse finish(Building building);

  ResourceView view_;
  Options options_;
  std::vector<std::unique_ptr<Type>> types_;
  std::map<std::string, Sent, std::less<>> sent_;  // by nonce
  OpenRevisions open_;
  std::int64_t revision_;
  std::uint64_t nonce_ = 0;
  std::size_t names_ = 0;
  bool wants_retry_ = false;
};

}  // namespace sluice::sync
