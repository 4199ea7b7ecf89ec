#include "controlplane/discovery/identity_view.h"

#include <fmt/format.h>

#include <utility>

#include "controlplane/model/limits.h"
#include "proxy/base/encoding.h"
#include "proxy/base/limits.h"

namespace sluice::controlplane::discovery {

namespace {

namespace v1 = ::sluice::config::v1;
using config::Kind;

constexpr std::size_t kPage = 1000;

}  // namespace

absl::StatusOr<sync::ResourcePtr> IdentityView::get(Kind kind, std::string_view name) {
  const config::ResourceKey key{kind, std::string(name)};
  if (const auto kept = kept_.find(key); kept != kept_.end()) {
    return kept->second;
  }
  absl::StatusOr<sync::ResourcePtr> read =
      kind == Kind::kToken ? read_token(key.name) : read_grants(key.name);
  if (read.ok() && *read != nullptr) {
    if (kept_.size() >= limits::kIdentitiesKeptMax) {
      kept_.clear();
    }
    kept_.emplace(key, *read);
  }
  return read;
}

void IdentityView::forget(Kind kind, std::string_view name) {
  kept_.erase({kind, std::string(name)});
}

void IdentityView::forget_all() { kept_.clear(); }

absl::StatusOr<sync::ResourcePtr> IdentityView::read_token(const std::string& hash) const {
  if (!sha256_from_hex(hash)) {
    return nullptr;
  }
  absl::StatusOr<store::Row> row = store_.get(organisation_, store::kTokenKind, hash);
  if (absl::IsNotFound(row.status())) {
    return nullptr;
  }
  SLUICE_RETURN_IF_ERROR(row.status());
  auto resource = std::make_shared<sync::Resource>();
  resource->name = hash;
  resource->version = sync::content_version(row->spec);
  resource->bytes = std::move(row->spec);
  return resource;
}

absl::StatusOr<sync::ResourcePtr> IdentityView::read_grants(const std::string& application) const {
  if (application.empty() || application.size() > limits::kNameBytesMax) {
    return nullptr;
  }
  v1::Grants grants;
  grants.set_application_name(application);
  SLUICE_RETURN_IF_ERROR(read_subscriptions(grants));
  // After its subscriptions: one that is deleted meanwhile together with them is then seen to be
  // gone, and not as one that has lost its subscriptions.
  const absl::StatusOr<store::Row> row = store_.get(organisation_, "Application", application);
  if (absl::IsNotFound(row.status())) {
    return nullptr;
  }
  SLUICE_RETURN_IF_ERROR(row.status());
  if (!grants.mutable_application()->ParseFromString(row->spec)) {
    return internal_error(fmt::format("Application {} in the store cannot be parsed", application));
  }
  return sync::make_resource(application, grants);
}

absl::Status IdentityView::read_subscriptions(v1::Grants& grants) const {
  store::ListOptions page{grants.application_name() + ":", "", kPage};
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const std::vector<store::Row> rows,
                            store_.list(organisation_, "Subscription", page));
    for (const store::Row& subscription : rows) {
      if (!grants.add_subscriptions()->ParseFromString(subscription.spec)) {
        return internal_error(
            fmt::format("Subscription {} in the store cannot be parsed", subscription.name));
      }
    }
    if (rows.size() < kPage) {
      return absl::OkStatus();
    }
    page.after = rows.back().name;
  }
}

}  // namespace sluice::controlplane::discovery
