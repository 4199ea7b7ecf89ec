// The tables, and how a file of an older version comes up to date.
#pragma once

#include "controlplane/store/database.h"

namespace sluice::controlplane::store {

// Runs the migrations that `PRAGMA user_version` says are missing, each in a transaction.
// FAILED_PRECONDITION: the file is of a newer version.
absl::Status migrate(Database& database);

// The schema's version: how many migrations there are.
int schema_version();

}  // namespace sluice::controlplane::store
