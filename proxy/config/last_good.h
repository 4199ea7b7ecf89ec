// What a proxy starts from without its control plane: DATA/last-good.db, a small SQLite file with
// the resources in force, by kind and name, and the identities that were seen.
#pragma once

#include <memory>
#include <string>

#include "proxy/base/status.h"
#include "proxy/config/resource.h"

struct sqlite3;
struct sqlite3_stmt;

namespace sluice::config {

// One thread at a time. A crash at any moment leaves the state before or after a save.
class LastGood {
 public:
  // A damaged file is renamed to last-good.db.damaged (logged) and a new one begun. UNAVAILABLE,
  // with the place and reason, only if no file can be had there at all.
  static absl::StatusOr<std::unique_ptr<LastGood>> open(const std::string& data_dir);
  ~LastGood();

  // Applies all or nothing. UNAVAILABLE names the file and what to do (disk full, permission).
  absl::Status save(const Delta& delta);

  struct Content {
    Delta config;      // upserts of the compiled kinds, in make-before-break order
    Delta identities;  // upserts of kToken and kGrants
  };
  // Versions are those that were saved: they are the initial_resource_versions.
  absl::StatusOr<Content> load();

  const std::string& path() const { return path_; }

 private:
  LastGood(std::string path, sqlite3* db);
  absl::Status error(const char* doing) const;

  std::string path_;
  sqlite3* db_;
  sqlite3_stmt* put_ = nullptr;
  sqlite3_stmt* erase_ = nullptr;
};

}  // namespace sluice::config
