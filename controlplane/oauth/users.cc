#include "controlplane/oauth/users.h"

#include <fmt/format.h>
#include <sodium.h>
#include <unistd.h>

#include <vector>

#include "controlplane/model/limits.h"
#include "proxy/base/check.h"
#include "proxy/base/encoding.h"

namespace sluice::controlplane::oauth {
namespace {

constexpr char kPasswords[] = "passwords";
constexpr char kSessions[] = "sessions";
// OWASP's figures for argon2id: 19 MiB, two passes.
constexpr unsigned long long kPasses = 2;
constexpr std::size_t kMemoryBytes = 19 * 1024 * 1024;
constexpr std::string_view kTokenPrefix = "sls_";

void need_sodium() { SLUICE_CHECK(sodium_init() >= 0); }

absl::Status wrong() { return absl::UnauthenticatedError("the user or the password is wrong"); }

absl::Status no_session() {
  return absl::UnauthenticatedError("the session is unknown or over; log in by AuthService/Login");
}

}  // namespace

absl::StatusOr<std::string> hash_password(std::string_view password) {
  need_sodium();
  char hash[crypto_pwhash_STRBYTES];
  if (crypto_pwhash_str(hash, password.data(), password.size(), kPasses, kMemoryBytes) != 0) {
    return resource_exhausted("not enough memory to hash a password");
  }
  return std::string(hash);
}

bool verify_password(const std::string& hash, std::string_view password) {
  need_sodium();
  return hash.size() < crypto_pwhash_STRBYTES &&
         crypto_pwhash_str_verify(hash.c_str(), password.data(), password.size()) == 0;
}

Users::Users(store::Store& store, std::string organisation, std::string admin_password_file)
    : store_(store),
      organisation_(std::move(organisation)),
      admin_password_file_(std::move(admin_password_file)),
      nobody_(hash_password(random_bytes(16)).value_or("")),
      attempts_(limits::kLoginFailuresMax, limits::kLoginFailureWindow) {}

absl::Status Users::set_password(const std::string& user, std::string_view password) {
  store::Commit commit;
  SLUICE_RETURN_IF_ERROR(add_password(user, password, commit));
  SLUICE_RETURN_IF_ERROR(store_.commit(organisation_, std::move(commit)).status());
  password_changed(user);
  return absl::OkStatus();
}

absl::Status Users::add_password(const std::string& user, std::string_view password,
                                 store::Commit& commit) {
  if (password.size() < limits::kPasswordBytesMin || password.size() > limits::kPasswordBytesMax) {
    return invalid_argument(fmt::format("password: must have {} to {} characters",
                                        limits::kPasswordBytesMin, limits::kPasswordBytesMax));
  }
  absl::StatusOr<std::string> hash;
  {
    const std::lock_guard lock(hashing_);
    hash = hash_password(password);
  }
  SLUICE_RETURN_IF_ERROR(hash.status());
  commit.documents.push_back({kPasswords, user, *std::move(hash), 0});
  commit.drop_documents.push_back({kSessions, user});
  return absl::OkStatus();
}

void Users::password_changed(const std::string& user) {
  attempts_.succeeded("user " + user);
  if (user == "admin" && !admin_password_file_.empty()) {
    ::unlink(admin_password_file_.c_str());
  }
}

void Users::add_removal(const std::string& user, store::Commit& commit) {
  commit.documents.push_back({kPasswords, user, std::nullopt, 0});
  commit.drop_documents.push_back({kSessions, user});
}

absl::StatusOr<bool> Users::has_password(const std::string& user) const {
  const absl::Status status = store_.get_document(organisation_, kPasswords, user).status();
  if (absl::IsNotFound(status)) {
    return false;
  }
  SLUICE_RETURN_IF_ERROR(status);
  return true;
}

absl::StatusOr<bool> Users::password_is(const std::string& user, std::string_view password) {
  const absl::StatusOr<store::Document> document =
      store_.get_document(organisation_, kPasswords, user);
  if (absl::IsNotFound(document.status())) {
    return false;
  }
  SLUICE_RETURN_IF_ERROR(document.status());
  const std::lock_guard lock(hashing_);
  return verify_password(document->blob, password);
}

absl::StatusOr<Session> Users::login(const std::string& user, std::string_view password,
                                     const std::string& client_address) {
  const Mono now = system_mono();
  // By address and user together, so that nobody can lock a user out from elsewhere; and by address
  // alone against one who tries many names.
  const std::string pair = client_address.empty() ? "" : client_address + ' ' + user;
  SLUICE_RETURN_IF_ERROR(attempts_.check(pair, now));
  SLUICE_RETURN_IF_ERROR(attempts_.check(client_address, now));
  const absl::StatusOr<store::Document> document =
      store_.get_document(organisation_, kPasswords, user);
  if (!document.ok() && !absl::IsNotFound(document.status())) {
    return document.status();
  }
  bool right = false;
  if (password.size() <= limits::kPasswordBytesMax) {
    const std::lock_guard lock(hashing_);
    right = verify_password(document.ok() ? document->blob : nobody_, password) && document.ok();
  }
  if (!right) {
    attempts_.failed(pair, now);
    attempts_.failed(client_address, now);
    return wrong();
  }
  attempts_.succeeded(pair);
  Session session;
  session.token = std::string(kTokenPrefix) + base64url(random_bytes(32));
  session.expires = system_wall() + limits::kSessionLife;
  SLUICE_RETURN_IF_ERROR(store_.put_document(organisation_, kSessions, hex(sha256(session.token)),
                                             user, to_ms(session.expires)));
  return session;
}

absl::StatusOr<std::string> Users::authenticate(std::string_view token) const {
  if (!token.starts_with(kTokenPrefix)) {
    return no_session();
  }
  absl::StatusOr<store::Document> document =
      store_.get_document(organisation_, kSessions, hex(sha256(token)));
  if (absl::IsNotFound(document.status())) {
    return no_session();
  }
  SLUICE_RETURN_IF_ERROR(document.status());
  return document->blob;
}

absl::Status Users::logout(std::string_view token) {
  const absl::Status status = store_.delete_document(organisation_, kSessions, hex(sha256(token)));
  return absl::IsNotFound(status) ? no_session() : status;
}

}  // namespace sluice::controlplane::oauth
