// Passwords and login sessions of the people who run the control plane.
#pragma once

#include <mutex>
#include <string>
#include <string_view>

#include "controlplane/oauth/attempts.h"
#include "controlplane/store/store.h"
#include "proxy/base/clock.h"
#include "proxy/base/status.h"

namespace sluice::controlplane::oauth {

// argon2id, as libsodium's text form; takes about 30 ms and 19 MiB.
absl::StatusOr<std::string> hash_password(std::string_view password);
bool verify_password(const std::string& hash, std::string_view password);

struct Session {
  std::string token;  // bearer token, shown once; the store has its SHA-256
  Wall expires;
};

// Any thread; calls read and write the store and may block. Whether the User resource exists is the
// caller's matter; here are only its password and its sessions, as documents.
class Users {
 public:
  // `admin_password_file`: removed when the password of `admin` changes; empty: there is none.
  Users(store::Store& store, std::string organisation, std::string admin_password_file = "");

  // Also ends the user's sessions. INVALID_ARGUMENT: shorter than 8 or longer than 1024 bytes.
  absl::Status set_password(const std::string& user, std::string_view password);
  // The same as a part of somebody's commit; once that is done, password_changed() must be called.
  absl::Status add_password(const std::string& user, std::string_view password,
                            store::Commit& commit);
  void password_changed(const std::string& user);
  // Password and sessions go with the commit.
  static void add_removal(const std::string& user, store::Commit& commit);
  absl::StatusOr<bool> has_password(const std::string& user) const;
  // Whether this is the user's password; false if there is none. Not for logins: counts no failure.
  absl::StatusOr<bool> password_is(const std::string& user, std::string_view password);

  // UNAUTHENTICATED for a wrong password or an unknown user, which take the same time;
  // RESOURCE_EXHAUSTED after too many failures from `client_address` or for `user`.
  absl::StatusOr<Session> login(const std::string& user, std::string_view password,
                                const std::string& client_address);
  // The user whose live session `token` is. UNAUTHENTICATED.
  absl::StatusOr<std::string> authenticate(std::string_view token) const;
  absl::Status logout(std::string_view token);
  // Logins refused for too many failures, since the start.
  std::uint64_t refused() const { return attempts_.refused(); }

 private:
  store::Store& store_;
  const std::string organisation_;
  const std::string admin_password_file_;
  // What an unknown user's password is compared with, so that the answer takes as long.
  const std::string nobody_;
  Attempts attempts_;
  std::mutex hashing_;  // one argon2id at a time: it is big, and guessing is not to be parallel
};

}  // namespace sluice::controlplane::oauth
