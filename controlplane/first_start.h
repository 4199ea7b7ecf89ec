// What a start makes where it is not there yet, and what keeps two processes from one data
// directory.
#pragma once

#include <string>

#include "controlplane/api/editor.h"
#include "controlplane/oauth/users.h"
#include "controlplane/pki/authority.h"
#include "proxy/base/status.h"

namespace sluice::controlplane {

// Holds DATA/lock until destroyed.
class DataLock {
 public:
  // Makes the directory (0700) if need be. FAILED_PRECONDITION: another process has it.
  static absl::StatusOr<DataLock> take(const std::string& data_dir);
  DataLock(DataLock&& other) noexcept;
  DataLock& operator=(DataLock&&) = delete;
  ~DataLock();

 private:
  explicit DataLock(int fd) : fd_(fd) {}
  int fd_;
};

std::string admin_password_file(const std::string& data_dir);

// The default group, plans, listeners and the certificate of `wss`, where the store is empty;
// later, a certificate of ours for `wss` is made anew before it expires. One that somebody put
// there stays.
absl::Status prepare_resources(api::Editor& editor, const pki::Authority& authority, Wall now);

// Gives the user `admin` a password if it has none: that of the environment's
// SLUICE_ADMIN_PASSWORD, else a random one, written to admin_password_file() and its place logged.
absl::Status prepare_admin(store::Store& store, const std::string& data_dir);

// A new random password for `admin` (made anew if deleted), written to admin_password_file().
absl::Status reset_admin_password(store::Store& store, const std::string& data_dir);

}  // namespace sluice::controlplane
