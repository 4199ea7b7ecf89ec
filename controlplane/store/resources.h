// Resources, tokens and the change feed, as statements over one connection.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "controlplane/store/database.h"
#include "controlplane/store/store.h"

namespace sluice::controlplane::store {

// On the writer's connection, inside a savepoint. Answers with the new revision. `wrote`: whether
// there is something new for the feed.
struct Committed {
  std::int64_t revision = 0;
  bool wrote = false;
};
absl::StatusOr<Committed> commit_writes(Database& database, const std::string& organisation,
                                        const Commit& commit, std::int64_t now_ms);

absl::StatusOr<Row> get_row(Database& database, const std::string& organisation,
                            const std::string& kind, const std::string& name);
absl::StatusOr<std::vector<Row>> list_rows(Database& database, const std::string& organisation,
                                           const std::string& kind, const ListOptions& options);
absl::StatusOr<std::int64_t> count_rows(Database& database, const std::string& organisation,
                                        const std::string& kind);
absl::StatusOr<std::vector<Row>> application_tokens(Database& database,
                                                    const std::string& organisation,
                                                    const std::string& application);
absl::StatusOr<Row> row_by_alias(Database& database, const std::string& organisation,
                                 const std::string& kind, const std::string& alias);
// In one read transaction of the caller.
absl::StatusOr<std::vector<Change>> changes_after(Database& database,
                                                  const std::string& organisation,
                                                  std::int64_t after, std::size_t limit,
                                                  FeedPart part);

// Newest revision of each organisation.
absl::StatusOr<std::map<std::string, std::int64_t>> revisions(Database& database);

// Deletes some tokens that expired before `before_ms`, and the oldest tombstones beyond `max`.
absl::Status collect_tokens(Database& database, std::int64_t before_ms, std::size_t batch);
absl::Status collect_tombstones(Database& database, std::size_t max);

}  // namespace sluice::controlplane::store
