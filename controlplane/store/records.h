// Records of exchanges, what is summed from them, and the state of the connections that they tell
// of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "controlplane/store/database.h"
#include "controlplane/store/store.h"

namespace sluice::controlplane::store {

// On the writer's connection, inside a savepoint: the records that are newer than their epoch's
// head.
absl::Status append_records(Database& database, const std::string& organisation,
                            const std::string& proxy,
                            const std::vector<telemetry::v1::Record>& records, std::int64_t now_ms);

absl::StatusOr<std::vector<RecordHead>> record_heads(Database& database,
                                                     const std::string& organisation);
// Sequence 0 if there is none.
absl::StatusOr<RecordHead> record_head(Database& database, const std::string& organisation,
                                       const std::string& proxy, std::uint64_t epoch);
absl::StatusOr<RecordPage> list_records(Database& database, const std::string& organisation,
                                        const RecordFilter& filter);
absl::StatusOr<std::vector<UsageSum>> usage(Database& database, const std::string& organisation,
                                            const UsageSum& of, std::int64_t since_ms);
absl::StatusOr<std::vector<ConnectionState>> connections(Database& database,
                                                         const std::string& organisation,
                                                         const ConnectionFilter& filter);

// Drops some of what is beyond the bounds, oldest first.
absl::Status collect_records(Database& database, std::size_t records_max, std::size_t batch);
absl::Status collect_connections(Database& database, std::size_t max, std::int64_t now_ms);
absl::Status collect_rollups(Database& database, std::int64_t now_ms);

}  // namespace sluice::controlplane::store
