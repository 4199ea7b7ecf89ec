// Tokens and grants, read from the store when a proxy asks for them by name.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "controlplane/store/store.h"
#include "proxy/base/status.h"
#include "proxy/config/resource.h"
#include "proxy/sync/resource.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::discovery {

// Blocks on the store for a read. One thread. What was found is kept until a change is told, so
// that a change to an application costs one read for all the proxies that know it. What was not
// found is never kept: it may be made at any moment, before its change is heard of.
class IdentityView {
 public:
  IdentityView(const store::Store& store, std::string organisation)
      : store_(store), organisation_(std::move(organisation)) {}

  // `kind`: kToken (by hash) or kGrants (by application). Null: there is none.
  absl::StatusOr<sync::ResourcePtr> get(config::Kind kind, std::string_view name);

  void forget(config::Kind kind, std::string_view name);
  void forget_all();

 private:
  absl::StatusOr<sync::ResourcePtr> read_token(const std::string& hash) const;
  absl::StatusOr<sync::ResourcePtr> read_grants(const std::string& application) const;
  absl::Status read_subscriptions(config::v1::Grants& grants) const;

  const store::Store& store_;
  const std::string organisation_;
  std::map<config::ResourceKey, sync::ResourcePtr> kept_;
};

}  // namespace sluice::controlplane::discovery
