#include "controlplane/oauth/tokens.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <utility>

#include "controlplane/model/limits.h"
#include "proxy/base/encoding.h"

namespace sluice::controlplane::oauth {
namespace {

using google::protobuf::util::TimeUtil;

constexpr char kDefaultScope[] = "default";
constexpr std::size_t kTokenIdDigits = 16;

std::string_view key_type_name(config::v1::KeyType key_type) {
  return key_type == config::v1::SANDBOX ? "SANDBOX" : "PRODUCTION";
}

template <class Spec>
absl::StatusOr<Spec> spec_of(const store::Row& row) {
  Spec spec;
  if (!spec.ParseFromString(row.spec)) {
    return internal_error(fmt::format("the stored {} {} cannot be read", row.kind, row.name));
  }
  return spec;
}

absl::Status check_scopes(const std::vector<std::string>& scopes) {
  if (scopes.size() > limits::kScopesMax) {
    return invalid_argument(fmt::format("at most {} scopes a token", limits::kScopesMax));
  }
  for (const std::string& scope : scopes) {
    // RFC 6749 section 3.3, NQCHAR.
    const bool valid = !scope.empty() && scope.size() <= limits::kScopeBytesMax &&
                       std::all_of(scope.begin(), scope.end(), [](char c) {
                         return c > 0x20 && c < 0x7f && c != '"' && c != '\\';
                       });
    if (!valid) {
      return invalid_argument(
          fmt::format("a scope has 1 to {} visible ASCII characters without quotes and backslashes",
                      limits::kScopeBytesMax));
    }
  }
  return absl::OkStatus();
}

bool alive(const config::v1::Token& token, Wall now) {
  return !token.revoked() &&
         (!token.has_expires() || TimeUtil::TimestampToMilliseconds(token.expires()) > to_ms(now));
}

store::Write revocation(config::v1::Token token) {
  token.set_revoked(true);
  store::Write write;
  write.kind = store::kTokenKind;
  write.name = token.sha256();
  write.spec = token.SerializeAsString();
  return write;
}

absl::Status check_key_type(config::v1::KeyType key_type) {
  return key_type == config::v1::PRODUCTION || key_type == config::v1::SANDBOX
             ? absl::OkStatus()
             : invalid_argument("key_type: must be PRODUCTION or SANDBOX");
}

absl::StatusOr<std::vector<config::v1::Token>> tokens_of(const store::Store& store,
                                                         const std::string& organisation,
                                                         const std::string& application, Wall now) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<store::Row> rows,
                          store.tokens_of(organisation, application));
  std::vector<config::v1::Token> tokens;
  for (const store::Row& row : rows) {
    SLUICE_ASSIGN_OR_RETURN(config::v1::Token token, spec_of<config::v1::Token>(row));
    if (alive(token, now)) {
      tokens.push_back(std::move(token));
    }
  }
  return tokens;
}

absl::Status check_application(const store::Store& store, const std::string& organisation,
                               const std::string& name) {
  SLUICE_ASSIGN_OR_RETURN(const store::Row row, store.get(organisation, "Application", name));
  SLUICE_ASSIGN_OR_RETURN(const config::v1::Application application,
                          spec_of<config::v1::Application>(row));
  switch (application.status()) {
    case config::v1::Application::BLOCKED:
      return failed_precondition(fmt::format("the application {} is blocked", name));
    case config::v1::Application::ON_HOLD:
      return failed_precondition(fmt::format("the application {} is on hold", name));
    case config::v1::Application::REJECTED:
      return failed_precondition(fmt::format("the application {} was rejected", name));
    default:
      return absl::OkStatus();
  }
}

}  // namespace

std::string credential_name(std::string_view application, config::v1::KeyType key_type) {
  return fmt::format("{}:{}", application, key_type_name(key_type));
}

absl::StatusOr<admin::v1::GenerateKeysResponse> Tokens::generate_keys(
    const admin::v1::GenerateKeysRequest& request) {
  SLUICE_RETURN_IF_ERROR(check_key_type(request.key_type()));
  const absl::Status application =
      store_.get(organisation_, "Application", request.application()).status();
  if (absl::IsNotFound(application)) {
    return not_found(fmt::format(
        "application: there is no Application {0}; make it first (`sluicectl app create {0}`)",
        request.application()));
  }
  SLUICE_RETURN_IF_ERROR(application);
  const std::string name = credential_name(request.application(), request.key_type());
  config::v1::Credential credential;
  store::Commit commit;
  std::int64_t seen = 0;
  absl::StatusOr<store::Row> row = store_.get(organisation_, "Credential", name);
  if (row.ok()) {
    SLUICE_ASSIGN_OR_RETURN(credential, spec_of<config::v1::Credential>(*row));
    seen = row->revision;
    commit.end_tokens.push_back({request.application(), name});
  } else if (!absl::IsNotFound(row.status())) {
    return row.status();
  }
  admin::v1::GenerateKeysResponse response;
  response.set_consumer_key(base64url(random_bytes(21)));
  response.set_consumer_secret(base64url(random_bytes(32)));
  credential.set_application(request.application());
  credential.set_key_type(request.key_type());
  credential.set_consumer_key(response.consumer_key());
  credential.set_secret_sha256(hex(sha256(response.consumer_secret())));
  store::Write write;
  write.kind = "Credential";
  write.name = name;
  write.spec = credential.SerializeAsString();
  // Two calls at once must not both hand out keys of which one pair is dead.
  write.expected_revision = seen;
  commit.writes.push_back(std::move(write));
  commit.required.push_back({"Application", request.application()});
  SLUICE_ASSIGN_OR_RETURN(const std::int64_t revision,
                          store_.commit(organisation_, std::move(commit)));
  response.set_revision(revision);
  return response;
}

absl::StatusOr<Client> Tokens::authenticate(const std::string& consumer_key,
                                            std::string_view consumer_secret) const {
  absl::StatusOr<store::Row> row = store_.credential_by_key(organisation_, consumer_key);
  if (!row.ok() && !absl::IsNotFound(row.status())) {
    return row.status();
  }
  Client client;
  if (row.ok()) {
    client.credential = row->name;
    SLUICE_ASSIGN_OR_RETURN(client.spec, spec_of<config::v1::Credential>(*row));
  }
  const std::string given = hex(sha256(consumer_secret));
  const std::string& kept =
      client.spec.secret_sha256().empty() ? std::string(64, '-') : client.spec.secret_sha256();
  if (!constant_time_equal(given, kept) || !row.ok()) {
    return absl::UnauthenticatedError("the consumer key or secret is wrong");
  }
  return client;
}

absl::StatusOr<IssuedToken> Tokens::issue(const Client& client, const IssueOptions& options,
                                          Wall now) {
  SLUICE_RETURN_IF_ERROR(check_scopes(options.scopes));
  if (options.validity_s > limits::kTokenValidityMaxS) {
    return invalid_argument(
        fmt::format("a token lives at most {} seconds", limits::kTokenValidityMaxS));
  }
  SLUICE_RETURN_IF_ERROR(check_application(store_, organisation_, client.spec.application()));
  const std::int64_t configured = client.spec.token_validity().seconds();
  IssuedToken issued;
  issued.expires_in = options.validity_s != 0 ? options.validity_s
                      : configured != 0       ? configured
                                              : limits::kTokenValidityDefaultS;
  issued.scopes = options.scopes;
  if (issued.scopes.empty()) {
    issued.scopes.emplace_back(kDefaultScope);
  }
  issued.access_token = base64url(random_bytes(32));
  config::v1::Token token;
  token.set_sha256(hex(sha256(issued.access_token)));
  token.set_application(client.spec.application());
  token.set_key_type(client.spec.key_type());
  token.set_credential(client.credential);
  token.set_user(options.user);
  if (issued.expires_in > 0) {
    *token.mutable_expires() =
        TimeUtil::MillisecondsToTimestamp(to_ms(now) + issued.expires_in * 1000);
  }
  for (const std::string& scope : issued.scopes) {
    token.add_scopes(scope);
  }
  store::Commit commit;
  store::Write write;
  write.kind = store::kTokenKind;
  write.name = token.sha256();
  write.spec = token.SerializeAsString();
  commit.writes.push_back(std::move(write));
  commit.required = {{"Application", client.spec.application()}, {"Credential", client.credential}};
  SLUICE_ASSIGN_OR_RETURN(issued.revision, store_.commit(organisation_, std::move(commit)));
  issued_.fetch_add(1, std::memory_order_relaxed);
  return issued;
}

absl::StatusOr<admin::v1::IssueTokenResponse> Tokens::issue(
    const admin::v1::IssueTokenRequest& request, Wall now) {
  SLUICE_RETURN_IF_ERROR(check_key_type(request.key_type()));
  Client client;
  client.credential = credential_name(request.application(), request.key_type());
  const absl::StatusOr<store::Row> row = store_.get(organisation_, "Credential", client.credential);
  if (absl::IsNotFound(row.status())) {
    return not_found(fmt::format(
        "application: {} has no {} keys; make them first (`sluicectl keys generate {} --type {}`)",
        request.application(), key_type_name(request.key_type()), request.application(),
        request.key_type() == config::v1::SANDBOX ? "sandbox" : "production"));
  }
  SLUICE_RETURN_IF_ERROR(row.status());
  SLUICE_ASSIGN_OR_RETURN(client.spec, spec_of<config::v1::Credential>(*row));
  IssueOptions options;
  options.scopes.assign(request.scopes().begin(), request.scopes().end());
  options.validity_s = request.validity_s();
  SLUICE_ASSIGN_OR_RETURN(IssuedToken issued, issue(client, options, now));
  admin::v1::IssueTokenResponse response;
  response.set_access_token(std::move(issued.access_token));
  response.set_expires_in(issued.expires_in);
  response.set_revision(issued.revision);
  return response;
}

absl::StatusOr<admin::v1::RevokeTokenResponse> Tokens::revoke_all(
    std::vector<config::v1::Token> tokens) {
  store::Commit commit;
  for (config::v1::Token& token : tokens) {
    commit.writes.push_back(revocation(std::move(token)));
  }
  admin::v1::RevokeTokenResponse response;
  response.set_revoked(static_cast<std::int64_t>(commit.writes.size()));
  SLUICE_ASSIGN_OR_RETURN(const std::int64_t revision,
                          store_.commit(organisation_, std::move(commit)));
  response.set_revision(revision);
  return response;
}

absl::StatusOr<admin::v1::RevokeTokenResponse> Tokens::revoke(
    const admin::v1::RevokeTokenRequest& request, Wall now) {
  const int given =
      !request.token().empty() + !request.application().empty() + !request.connection().empty();
  if (given != 1) {
    return invalid_argument("give exactly one of token, application and connection");
  }
  if (!request.token().empty()) {
    absl::StatusOr<store::Row> row =
        store_.get(organisation_, store::kTokenKind, hex(sha256(request.token())));
    if (absl::IsNotFound(row.status())) {
      return not_found("token: there is no such token; it may have expired");
    }
    SLUICE_RETURN_IF_ERROR(row.status());
    SLUICE_ASSIGN_OR_RETURN(config::v1::Token token, spec_of<config::v1::Token>(*row));
    std::vector<config::v1::Token> tokens;
    if (alive(token, now)) {
      tokens.push_back(std::move(token));
    }
    return revoke_all(std::move(tokens));
  }
  if (!request.application().empty()) {
    const absl::Status application =
        store_.get(organisation_, "Application", request.application()).status();
    if (absl::IsNotFound(application)) {
      return not_found(
          fmt::format("application: there is no Application {}", request.application()));
    }
    SLUICE_RETURN_IF_ERROR(application);
    SLUICE_ASSIGN_OR_RETURN(std::vector<config::v1::Token> tokens,
                            tokens_of(store_, organisation_, request.application(), now));
    return revoke_all(std::move(tokens));
  }
  return revoke_by_connection(request.connection(), now);
}

absl::StatusOr<admin::v1::RevokeTokenResponse> Tokens::revoke_by_connection(
    const std::string& connection, Wall now) {
  store::RecordFilter filter;
  filter.connection_id = connection;
  filter.limit = 1;
  SLUICE_ASSIGN_OR_RETURN(const store::RecordPage page, store_.list_records(organisation_, filter));
  if (page.records.empty()) {
    return not_found(
        "connection: no record of it has come in; proxies report live connections every few "
        "seconds");
  }
  const telemetry::v1::Record& record = page.records.front();
  if (record.token_id().size() != kTokenIdDigits || record.application().empty()) {
    return failed_precondition(
        "connection: its records name no token; revoke by token or by application");
  }
  SLUICE_ASSIGN_OR_RETURN(std::vector<config::v1::Token> tokens,
                          tokens_of(store_, organisation_, record.application(), now));
  std::erase_if(tokens, [&](const config::v1::Token& token) {
    return !token.sha256().starts_with(record.token_id());
  });
  return revoke_all(std::move(tokens));
}

absl::StatusOr<bool> Tokens::revoke_own(const Client& client, std::string_view token, Wall now) {
  absl::StatusOr<store::Row> row = store_.get(organisation_, store::kTokenKind, hex(sha256(token)));
  if (absl::IsNotFound(row.status())) {
    return false;
  }
  SLUICE_RETURN_IF_ERROR(row.status());
  SLUICE_ASSIGN_OR_RETURN(config::v1::Token spec, spec_of<config::v1::Token>(*row));
  if (spec.credential() != client.credential || !alive(spec, now)) {
    return false;
  }
  SLUICE_RETURN_IF_ERROR(revoke_all({std::move(spec)}).status());
  return true;
}

}  // namespace sluice::controlplane::oauth
