// Identities from their messages.
#pragma once

#include "proxy/base/status.h"
#include "proxy/config/directory.h"
#include "proxy/config/resource.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::config {

// INVALID_ARGUMENT names the field: a hash that is none, no application.
absl::StatusOr<model::Token> to_model(const v1::Token& token);
// Subscriptions come out sorted by API. INVALID_ARGUMENT: no application name, or a subscription of
// another application.
absl::StatusOr<model::Grants> to_model(const v1::Grants& grants);

// From kToken and kGrants resources; a kToken resource's name must be its hash, a kGrants one's the
// application's.
absl::StatusOr<model::Token> token_from(const Resource& resource);
absl::StatusOr<model::Grants> grants_from(const Resource& resource);

}  // namespace sluice::config
