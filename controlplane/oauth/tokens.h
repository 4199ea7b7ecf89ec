// Consumer keys and access tokens of applications. Secrets and tokens are random, shown once, and
// kept as SHA-256 only.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/store/store.h"
#include "proxy/base/clock.h"
#include "proxy/base/status.h"
#include "sluice/admin/v1/resources.pb.h"
#include "sluice/admin/v1/services.pb.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::oauth {

// A client that has shown its secret.
struct Client {
  std::string credential;  // resource name, APPLICATION:PRODUCTION or APPLICATION:SANDBOX
  config::v1::Credential spec;
};

struct IssueOptions {
  std::vector<std::string> scopes;  // empty: `default`
  // Seconds; 0: the credential's token_validity; negative: never expires.
  std::int64_t validity_s = 0;
  std::string user;  // the end user, where the grant has one
};

struct IssuedToken {
  std::string access_token;
  std::vector<std::string> scopes;
  std::int64_t expires_in = 0;  // seconds; negative: never expires
  std::int64_t revision = 0;
};

// APPLICATION:PRODUCTION or APPLICATION:SANDBOX.
std::string credential_name(std::string_view application, config::v1::KeyType key_type);

// Any thread; calls read and commit to the store and may block. Every change is a commit, so it
// reaches the proxies by the change feed.
class Tokens {
 public:
  Tokens(store::Store& store, std::string organisation)
      : store_(store), organisation_(std::move(organisation)) {}

  // New consumer key and secret for one key type; a Credential that exists keeps its other fields,
  // and its tokens are revoked in the same commit. NOT_FOUND: no such application.
  absl::StatusOr<admin::v1::GenerateKeysResponse> generate_keys(
      const admin::v1::GenerateKeysRequest& request);

  // UNAUTHENTICATED, in constant time as to the secret, whether the key is unknown or the secret
  // wrong.
  absl::StatusOr<Client> authenticate(const std::string& consumer_key,
                                      std::string_view consumer_secret) const;

  // A new token of the client. INVALID_ARGUMENT: scopes or validity; FAILED_PRECONDITION: the
  // application is not approved.
  absl::StatusOr<IssuedToken> issue(const Client& client, const IssueOptions& options, Wall now);

  // For an operator: TokenService.
  absl::StatusOr<admin::v1::IssueTokenResponse> issue(const admin::v1::IssueTokenRequest& request,
                                                      Wall now);

  // For an operator: by token, by application (all its tokens), or by connection: the token that
  // the connection came with, which the proxies' records name by the first 16 digits of its
  // SHA-256. NOT_FOUND, FAILED_PRECONDITION (no record of the connection names its token).
  absl::StatusOr<admin::v1::RevokeTokenResponse> revoke(
      const admin::v1::RevokeTokenRequest& request, Wall now);

  // Since the start.
  std::uint64_t issued() const { return issued_.load(std::memory_order_relaxed); }

  // For a client (RFC 7009): whether the token existed and was the client's and is revoked now.
  absl::StatusOr<bool> revoke_own(const Client& client, std::string_view token, Wall now);

 private:
  absl::StatusOr<admin::v1::RevokeTokenResponse> revoke_all(std::vector<config::v1::Token> tokens);
  absl::StatusOr<admin::v1::RevokeTokenResponse> revoke_by_connection(const std::string& connection,
                                                                      Wall now);

  store::Store& store_;
  const std::string organisation_;
  std::atomic<std::uint64_t> issued_{0};
};

}  // namespace sluice::controlplane::oauth
