#include "proxy/sync/delta_server.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::sync {

namespace {

constexpr std::string_view kAll = "*";
// A stream that begins holds nothing for certain: its first contents count from the first revision.
constexpr std::int64_t kFirstRevision = 1;

using PendingMap = std::map<std::string, Pending, std::less<>>;

std::optional<Pending> take(PendingMap& map, std::string_view name) {
  const auto it = map.find(name);
  if (it == map.end()) {
    return std::nullopt;
  }
  Pending pending = std::move(it->second);
  map.erase(it);
  return pending;
}

}  // namespace

DeltaServerStream::DeltaServerStream(ResourceView view, std::int64_t revision, Options options)
    : view_(std::move(view)), options_(std::move(options)), revision_(revision) {
  for (const ResourceType& rule : options_.types) {
    types_.push_back(std::make_unique<Type>());
    types_.back()->rule = rule;
  }
}

absl::StatusOr<DeltaServerStream::Type*> DeltaServerStream::type_of(std::string_view url) {
  for (const auto& type : types_) {
    if (type->rule.url == url) {
      return type.get();
    }
  }
  if (url.empty()) {
    return invalid_argument("a discovery request must have a type_url");
  }
  if (types_.size() >= limits::kDiscoveryTypesMax) {
    return resource_exhausted(
        fmt::format("more than {} types on one discovery stream", limits::kDiscoveryTypesMax));
  }
  types_.push_back(std::make_unique<Type>());
  types_.back()->rule.url = std::string(url);
  return types_.back().get();
}

const DeltaServerStream::Type* DeltaServerStream::find_type(std::string_view url) const {
  for (const auto& type : types_) {
    if (type->rule.url == url) {
      return type.get();
    }
  }
  return nullptr;
}

absl::Status DeltaServerStream::on_request(const xds::DeltaDiscoveryRequest& request) {
  SLUICE_ASSIGN_OR_RETURN(Type * type, type_of(request.type_url()));
  if (!request.response_nonce().empty()) {
    on_answer(*type, request);
  }
  // Whatever the nonce says, subscriptions take effect.
  return subscribe(*type, request);
}

absl::Status DeltaServerStream::subscribe(Type& type, const xds::DeltaDiscoveryRequest& request) {
  const bool first = !type.requested;
  type.requested = true;
  bool wildcard = first && request.resource_names_subscribe().empty();
  for (const std::string& name : request.resource_names_subscribe()) {
    if (name == kAll) {
      wildcard = true;
    } else {
      names_ += type.names.insert(name).second ? 1 : 0;
    }
  }
  const auto& held = request.initial_resource_versions();
  if (names_ + held.size() > limits::kDiscoveryNamesMax) {
    return resource_exhausted(fmt::format("more than {} resource names on one discovery stream",
                                          limits::kDiscoveryNamesMax));
  }
  const bool begins = wildcard && !type.wildcard;
  type.wildcard = type.wildcard || wildcard;
  for (const auto& [name, version] : held) {
    // On a reconnect; in batches, each with the versions of the names that it subscribes.
    if (type.subscribed(name)) {
      type.known.try_emplace(name, Known{version, {}});
    }
  }
  type.hold_removals = type.hold_removals || (first && type.rule.referred && !held.empty());
  for (const std::string& name : request.resource_names_subscribe()) {
    if (name != kAll) {
      const bool holds = held.contains(name);
      mark(type, name, holds ? kFirstRevision : revision_ + 1, !holds);
    }
  }
  if (begins) {
    subscribe_wildcard(type);
  }
  for (const std::string& name : request.resource_names_unsubscribe()) {
    unsubscribe(type, name);
  }
  return absl::OkStatus();
}

void DeltaServerStream::subscribe_wildcard(Type& type) {
  type.empty_answer = true;
  if (!type.rule.wildcard) {
    return;
  }
  for (const std::string& name : view_.names(type.rule.url)) {
    mark(type, name, kFirstRevision, false);
  }
  for (const auto& [name, known] : type.known) {
    mark(type, name, kFirstRevision, false);
  }
}

void DeltaServerStream::unsubscribe(Type& type, std::string_view name) {
  if (name == kAll) {
    type.wildcard = false;
    std::vector<std::string> gone;
    for (const auto* map : {&type.unsorted, &type.upserts, &type.removals}) {
      for (const auto& [pending, entry] : *map) {
        gone.push_back(pending);
      }
    }
    for (const auto& [known, entry] : type.known) {
      gone.push_back(known);
    }
    for (const std::string& each : gone) {
      if (!type.subscribed(each)) {
        forget(type, each);
      }
    }
    return;
  }
  const auto it = type.names.find(name);
  if (it != type.names.end()) {
    type.names.erase(it);
    --names_;
  }
  if (type.wildcard) {
    mark(type, name, revision_ + 1, true);
  } else {
    forget(type, name);
  }
}

void DeltaServerStream::forget(Type& type, std::string_view name) {
  for (PendingMap* map : {&type.unsorted, &type.upserts, &type.removals}) {
    if (const auto pending = take(*map, name)) {
      open_.remove(pending->revision);
    }
  }
  const auto known = type.known.find(name);
  if (known != type.known.end()) {
    type.refused.erase(known->first);
    type.known.erase(known);
  }
}

void DeltaServerStream::on_answer(Type& type, const xds::DeltaDiscoveryRequest& request) {
  type.hold_removals = false;
  const auto it = sent_.find(request.response_nonce());
  if (it == sent_.end() || it->second.type != &type) {
    return;
  }
  const Sent sent = std::move(it->second);
  sent_.erase(it);
  for (const SentEntry& entry : sent.entries) {
    open_.remove(entry.revision);
  }
  if (request.has_error_detail()) {
    refuse(type, sent, request.error_detail());
    return;
  }
  for (const SentEntry& entry : sent.entries) {
    accept(type, entry.name);
  }
}

void DeltaServerStream::accept(Type& type, const std::string& name) {
  const auto known = type.known.find(name);
  if (known == type.known.end()) {
    return;
  }
  known->second.refusals.clear();
  type.refused.erase(name);
  if (known->second.version.empty()) {
    type.known.erase(known);
  }
}

// Resources that the details do not name were accepted. Details that name nothing of the response,
// or no details at all, refuse all of it.
void DeltaServerStream::refuse(Type& type, const Sent& sent, const google::rpc::Status& error) {
  const std::string_view kind = kind_of_type(type.rule.url);
  std::map<std::string, std::vector<Refusal>> by_name;
  std::vector<Refusal> others;
  const auto in_response = [&sent](const std::string& name) {
    return std::ranges::any_of(sent.entries, [&](const SentEntry& e) { return e.name == name; });
  };
  for (Refusal& refusal : refusals_of(error)) {
    if (refusal.kind() == kind && in_response(refusal.name())) {
      by_name[refusal.name()].push_back(std::move(refusal));
    } else {
      others.push_back(std::move(refusal));
    }
  }
  if (by_name.empty()) {
    Refusal whole;
    whole.set_kind(std::string(kind));
    whole.set_reason(error.message());
    for (const SentEntry& entry : sent.entries) {
      whole.set_name(entry.name);
      by_name[entry.name] = others.empty() ? std::vector<Refusal>{whole} : others;
    }
  }
  for (const SentEntry& entry : sent.entries) {
    const auto reasons = by_name.find(entry.name);
    if (reasons == by_name.end()) {
      accept(type, entry.name);
      continue;
    }
    const auto known = type.known.find(entry.name);
    if (known != type.known.end()) {
      known->second.refusals = reasons->second;
      type.refused.insert(entry.name);
    }
  }
}

void DeltaServerStream::on_changes(std::int64_t revision, std::span<const ResourceChange> changes) {
  // A batch may span revisions; what is open counts from the first of them.
  const std::int64_t first = revision_ + 1;
  revision_ = std::max(revision_, revision);
  for (const ResourceChange& change : changes) {
    for (const auto& type : types_) {
      if (type->rule.url == change.type_url && type->subscribed(change.name)) {
        mark(*type, change.name, first, false);
      }
    }
  }
}

void DeltaServerStream::on_reset(std::int64_t revision) {
  const std::int64_t first = revision_ + 1;
  revision_ = std::max(revision_, revision);
  for (const auto& type : types_) {
    std::set<std::string, std::less<>> names = type->names;
    for (const auto& [name, known] : type->known) {
      names.insert(name);
    }
    if (type->wildcard && type->rule.wildcard) {
      for (std::string& name : view_.names(type->rule.url)) {
        names.insert(std::move(name));
      }
    }
    for (const std::string& name : names) {
      mark(*type, name, first, false);
    }
  }
}

void DeltaServerStream::mark(Type& type, std::string_view name, std::int64_t revision,
                             bool must_answer) {
  Pending pending;
  pending.revision = revision;
  pending.must_answer = must_answer;
  for (PendingMap* map : {&type.unsorted, &type.upserts, &type.removals}) {
    if (const auto earlier = take(*map, name)) {
      open_.remove(earlier->revision);
      pending.revision = std::min(revision, earlier->revision);
      pending.must_answer = must_answer || earlier->must_answer;
    }
  }
  open_.add(pending.revision);
  type.unsorted.emplace(name, std::move(pending));
}

void DeltaServerStream::sort() {
  wants_retry_ = false;
  bool changed = false;
  for (const auto& type : types_) {
    PendingMap unsorted;
    unsorted.swap(type->unsorted);
    for (auto& [name, pending] : unsorted) {
      const bool asked = pending.must_answer;
      changed = (sort_entry(*type, name, std::move(pending)) && !asked) || changed;
    }
  }
  if (changed) {
    retry_refused();
  }
}

// What was refused may have lacked what changed just now. Tried again once for each such change,
// and never by itself: a client that refuses is not flooded.
void DeltaServerStream::retry_refused() {
  for (const auto& type : types_) {
    for (const std::string& name :
         std::vector<std::string>(type->refused.begin(), type->refused.end())) {
      if (type->upserts.contains(name) || type->removals.contains(name) ||
          type->unsorted.contains(name)) {
        continue;
      }
      Pending pending;
      pending.revision = revision_;
      pending.retry = true;
      open_.add(pending.revision);
      sort_entry(*type, name, std::move(pending));
    }
  }
}

// True if something is to be sent.
bool DeltaServerStream::sort_entry(Type& type, const std::string& name, Pending pending) {
  absl::StatusOr<ResourcePtr> resource = view_.get(type.rule.url, name);
  for (PendingMap* map : {&type.upserts, &type.removals}) {
    if (const auto unsent_error = take(*map, name)) {
      open_.remove(unsent_error->revision);
    }
  }
  if (!resource.ok()) {
    wants_retry_ = true;
    const bool tell = pending.must_answer && !pending.error_told;
    pending.error_told = pending.error_told || tell;
    type.unsorted.emplace(name, pending);
    if (tell) {
      pending.error = resource.status();
      open_.add(pending.revision);
      type.upserts.emplace(name, std::move(pending));
    }
    return tell;
  }
  pending.resource = *std::move(resource);
  if (pending.resource == nullptr) {
    return sort_absent(type, name, std::move(pending));
  }
  const auto known = type.known.find(name);
  const bool same = known != type.known.end() && known->second.version == pending.resource->version;
  if (same && !pending.must_answer && !pending.retry) {
    open_.remove(pending.revision);
    return false;
  }
  type.upserts.insert_or_assign(name, std::move(pending));
  return true;
}

bool DeltaServerStream::sort_absent(Type& type, const std::string& name, Pending pending) {
  if (pending.must_answer) {
    type.upserts.insert_or_assign(name, std::move(pending));
    return true;
  }
  const auto known = type.known.find(name);
  const bool told = known == type.known.end() || known->second.version.empty();
  if (told && !pending.retry) {
    open_.remove(pending.revision);
    return false;
  }
  type.removals.insert_or_assign(name, std::move(pending));
  return true;
}

std::optional<xds::DeltaDiscoveryResponse> DeltaServerStream::next() {
  if (sent_.size() >= options_.unanswered_max) {
    return std::nullopt;
  }
  sort();
  for (const auto& type : types_) {
    if (auto response = build_upserts(*type)) {
      return response;
    }
  }
  for (auto type = types_.rbegin(); type != types_.rend(); ++type) {
    if (auto response = build_removals(**type)) {
      return response;
    }
  }
  return std::nullopt;
}

struct DeltaServerStream::Building {
  Type& type;
  xds::DeltaDiscoveryResponse response;
  Sent sent;
  std::size_t bytes = 0;
};

// False if the response is full; then nothing was added.
bool DeltaServerStream::add_entry(Building& building, const std::string& name,
                                  const Pending& pending) {
  constexpr std::size_t kOverhead = 32;
  Type& type = building.type;
  const Resource* resource = pending.resource.get();
  const std::size_t bytes =
      kOverhead + name.size() + (resource ? resource->bytes.size() + type.rule.url.size() : 0);
  if (building.bytes > 0 && building.bytes + bytes > options_.response_bytes_max) {
    return false;
  }
  building.bytes += bytes;
  building.sent.entries.push_back({name, pending.revision});
  if (!pending.error.ok()) {
    auto* error = building.response.add_resource_errors();
    error->mutable_resource_name()->set_name(name);
    *error->mutable_error_detail() = to_rpc(pending.error);
  } else if (resource == nullptr) {
    building.response.add_removed_resources(name);
    const auto known = type.known.find(name);
    if (known != type.known.end()) {
      known->second.version.clear();
    }
  } else {
    auto* out = building.response.add_resources();
    out->set_name(name);
    out->set_version(resource->version);
    out->mutable_resource()->set_type_url(type.rule.url);
    out->mutable_resource()->set_value(resource->bytes);
    type.known[name].version = resource->version;
  }
  return true;
}

void DeltaServerStream::take_removals(Building& building) {
  PendingMap& removals = building.type.removals;
  while (!removals.empty() &&
         add_entry(building, removals.begin()->first, removals.begin()->second)) {
    removals.erase(removals.begin());
  }
}

std::optional<xds::DeltaDiscoveryResponse> DeltaServerStream::build_upserts(Type& type) {
  const bool with_removals = !type.rule.referred && !type.removals.empty();
  if (type.upserts.empty() && !with_removals && !type.empty_answer) {
    return std::nullopt;
  }
  Building building{type, {}, {&type, {}}};
  if (with_removals) {
    take_removals(building);
  }
  while (!type.upserts.empty() &&
         add_entry(building, type.upserts.begin()->first, type.upserts.begin()->second)) {
    type.upserts.erase(type.upserts.begin());
  }
  return finish(std::move(building));
}

std::optional<xds::DeltaDiscoveryResponse> DeltaServerStream::build_removals(Type& type) {
  if (type.removals.empty() || type.hold_removals) {
    return std::nullopt;
  }
  Building building{type, {}, {&type, {}}};
  take_removals(building);
  return finish(std::move(building));
}

xds::DeltaDiscoveryResponse DeltaServerStream::finish(Building building) {
  building.type.empty_answer = false;
  xds::DeltaDiscoveryResponse& response = building.response;
  response.set_type_url(building.type.rule.url);
  response.set_nonce(std::to_string(++nonce_));
  response.set_system_version_info(std::to_string(revision_));
  response.mutable_control_plane()->set_identifier(options_.control_plane);
  sent_.emplace(response.nonce(), std::move(building.sent));
  return std::move(response);
}

bool DeltaServerStream::subscribed(std::string_view type_url, std::string_view name) const {
  const Type* type = find_type(type_url);
  return type != nullptr && type->subscribed(name);
}

bool DeltaServerStream::requested(std::string_view type_url) const {
  const Type* type = find_type(type_url);
  return type != nullptr && type->requested;
}

std::int64_t DeltaServerStream::acknowledged_revision() const {
  return open_.acknowledged(revision_);
}

std::vector<Refusal> DeltaServerStream::refusals() const {
  std::vector<Refusal> all;
  for (const auto& type : types_) {
    for (const std::string& name : type->refused) {
      const auto known = type->known.find(name);
      all.insert(all.end(), known->second.refusals.begin(), known->second.refusals.end());
    }
  }
  return all;
}

}  // namespace sluice::sync
