// The embedded Store: one SQLite file in WAL mode, one writer thread with group commit, a few
// reader connections.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "controlplane/store/store.h"

namespace sluice::controlplane::store {

struct SqliteOptions {
  std::string path;  // the file; made, 0600, if it is not there
  std::size_t readers = 4;
  std::size_t records_max = 1'000'000;      // kept; older ones are dropped
  std::size_t connections_max = 200'000;    // ended or refused ones that are kept
  std::size_t tombstones_max = 100'000;     // deletions that the feed remembers
  std::function<Wall()> now = system_wall;  // for expiry; called from several threads
};

// Opens or makes the store and brings its schema up to date. UNAVAILABLE or INTERNAL name the file
// and what to do; FAILED_PRECONDITION: it was written by a newer version, or another process has it
// open.
absl::StatusOr<std::unique_ptr<Store>> open_sqlite(SqliteOptions options);

}  // namespace sluice::controlplane::store
