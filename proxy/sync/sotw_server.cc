#include "proxy/sync/sotw_server.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::sync {

namespace {
constexpr std::string_view kAll = "*";
constexpr std::int64_t kFirstRevision = 1;
}  // namespace

SotwServerStream::SotwServerStream(ResourceView view, std::int64_t revision, Options options)
    : view_(std::move(view)), options_(std::move(options)), revision_(revision) {
  for (const ResourceType& rule : options_.types) {
    types_.push_back(std::make_unique<Type>());
    types_.back()->url = rule.url;
    types_.back()->listed = rule.wildcard;
  }
}

absl::StatusOr<SotwServerStream::Type*> SotwServerStream::type_of(std::string_view url) {
  for (const auto& type : types_) {
    if (type->url == url) {
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
  types_.back()->url = std::string(url);
  return types_.back().get();
}

absl::Status SotwServerStream::on_request(const xds::DiscoveryRequest& request) {
  SLUICE_ASSIGN_OR_RETURN(Type * type, type_of(request.type_url()));
  if (static_cast<std::size_t>(request.resource_names().size()) > limits::kDiscoveryNamesMax) {
    return resource_exhausted(fmt::format("more than {} resource names on one discovery stream",
                                          limits::kDiscoveryNamesMax));
  }
  const std::string& nonce = request.response_nonce();
  if (!nonce.empty() && nonce != type->nonce) {
    // An answer to an older response; what it asks for will be said again with the newest nonce.
    return absl::OkStatus();
  }
  if (!nonce.empty()) {
    type->answered = true;
    type->refusals.clear();
    if (request.has_error_detail()) {
      type->refusals = refusals_of(request.error_detail());
      if (type->refusals.empty()) {
        Refusal whole;
        whole.set_kind(std::string(kind_of_type(type->url)));
        whole.set_reason(request.error_detail().message());
        type->refusals.push_back(std::move(whole));
      }
    }
  }
  subscribe(*type, request);
  return absl::OkStatus();
}

// Each request names all that is wanted from now on.
void SotwServerStream::subscribe(Type& type, const xds::DiscoveryRequest& request) {
  const bool first = !type.requested;
  type.requested = true;
  std::set<std::string, std::less<>> names;
  bool wildcard = false;
  for (const std::string& name : request.resource_names()) {
    if (name == kAll) {
      wildcard = true;
    } else {
      names.insert(name);
    }
  }
  type.named = type.named || wildcard || !names.empty();
  wildcard = wildcard || !type.named;
  const bool more = (wildcard && !type.wildcard) || !std::ranges::includes(type.names, names);
  const bool fewer = (type.wildcard && !wildcard) || names.size() < type.names.size();
  type.names = std::move(names);
  type.wildcard = wildcard;
  if (first || more) {
    mark(type, kFirstRevision, true);
  } else if (fewer) {
    // The client drops them by itself; a new full state would only repeat what it keeps.
    type.version = content(type).version;
  }
}

void SotwServerStream::mark(Type& type, std::int64_t revision, bool must_answer) {
  type.dirty_revision = type.dirty ? std::min(type.dirty_revision, revision) : revision;
  type.dirty = true;
  type.must_answer = type.must_answer || must_answer;
}

void SotwServerStream::on_changes(std::int64_t revision, std::span<const ResourceChange> changes) {
  const std::int64_t first = revision_ + 1;
  revision_ = std::max(revision_, revision);
  for (const ResourceChange& change : changes) {
    for (const auto& type : types_) {
      if (type->url == change.type_url && type->subscribed(change.name)) {
        mark(*type, first, false);
      }
    }
  }
}

void SotwServerStream::on_reset(std::int64_t revision) {
  const std::int64_t first = revision_ + 1;
  revision_ = std::max(revision_, revision);
  for (const auto& type : types_) {
    if (type->requested) {
      mark(*type, first, false);
    }
  }
}

SotwServerStream::Content SotwServerStream::content(const Type& type) const {
  Content content;
  std::set<std::string, std::less<>> names = type.names;
  if (type.wildcard && type.listed) {
    for (std::string& name : view_.names(type.url)) {
      names.insert(std::move(name));
    }
  }
  std::string versions;
  for (const std::string& name : names) {
    absl::StatusOr<ResourcePtr> resource = view_.get(type.url, name);
    if (!resource.ok() || *resource == nullptr) {
      content.errors.emplace_back(
          name, resource.ok()
                    ? not_found(fmt::format("there is no {} {}", kind_of_type(type.url), name))
                    : resource.status());
      versions +=
          fmt::format("{}:-{}\n", name, static_cast<int>(content.errors.back().second.code()));
      continue;
    }
    versions += fmt::format("{}:{}\n", name, (*resource)->version);
    content.resources.push_back(*std::move(resource));
  }
  content.version = content_version(versions);
  return content;
}

std::optional<xds::DiscoveryResponse> SotwServerStream::next() {
  wants_retry_ = false;
  for (const auto& type : types_) {
    // One response of a type at a time: a newer one would make its answer stale.
    if (type->dirty && type->answered) {
      if (auto response = build(*type)) {
        return response;
      }
    }
  }
  return std::nullopt;
}

std::optional<xds::DiscoveryResponse> SotwServerStream::build(Type& type) {
  const Content content = this->content(type);
  const bool answer = std::exchange(type.must_answer, false);
  wants_retry_ = wants_retry_ || std::ranges::any_of(content.errors, [](const auto& error) {
                   return error.second.code() != absl::StatusCode::kNotFound;
                 });
  type.dirty = false;
  if (content.version == type.version && !answer) {
    return std::nullopt;
  }
  // Nobody asks for anything any more: silence, not an empty state, which would delete all.
  if (!type.wildcard && type.names.empty()) {
    return std::nullopt;
  }
  xds::DiscoveryResponse response;
  for (const ResourcePtr& resource : content.resources) {
    xds::Resource wrapped;
    wrapped.set_name(resource->name);
    wrapped.set_version(resource->version);
    wrapped.mutable_resource()->set_type_url(type.url);
    wrapped.mutable_resource()->set_value(resource->bytes);
    response.add_resources()->PackFrom(wrapped);
  }
  for (const auto& [name, status] : content.errors) {
    auto* error = response.add_resource_errors();
    error->mutable_resource_name()->set_name(name);
    *error->mutable_error_detail() = to_rpc(status);
  }
  type.version = content.version;
  type.nonce = std::to_string(++nonce_);
  type.sent_revision = type.dirty_revision;
  type.answered = false;
  response.set_version_info(type.version);
  response.set_type_url(type.url);
  response.set_nonce(type.nonce);
  response.mutable_control_plane()->set_identifier(options_.control_plane);
  return response;
}

bool SotwServerStream::subscribed(std::string_view type_url, std::string_view name) const {
  return std::ranges::any_of(
      types_, [&](const auto& type) { return type->url == type_url && type->subscribed(name); });
}

bool SotwServerStream::requested(std::string_view type_url) const {
  return std::ranges::any_of(
      types_, [&](const auto& type) { return type->url == type_url && type->requested; });
}

std::int64_t SotwServerStream::acknowledged_revision() const {
  std::int64_t acknowledged = revision_;
  for (const auto& type : types_) {
    if (type->dirty) {
      acknowledged = std::min(acknowledged, type->dirty_revision - 1);
    }
    if (!type->answered) {
      acknowledged = std::min(acknowledged, type->sent_revision - 1);
    }
  }
  return acknowledged;
}

std::vector<Refusal> SotwServerStream::refusals() const {
  std::vector<Refusal> all;
  for (const auto& type : types_) {
    all.insert(all.end(), type->refusals.begin(), type->refusals.end());
  }
  return all;
}

}  // namespace sluice::sync
