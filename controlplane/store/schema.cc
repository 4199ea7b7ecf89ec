#include "controlplane/store/schema.h"

#include <fmt/format.h>

#include <iterator>
#include <string>

namespace sluice::controlplane::store {
namespace {

// A migration, once released, never changes; a new one is added at the end.
constexpr const char* kMigrations[] = {
    // resource_revision: the last revision that changed something besides tokens. feed_floor: the
    // revision up to which deletions are forgotten.
    R"sql(
CREATE TABLE organisations (
  organisation TEXT PRIMARY KEY,
  revision INTEGER NOT NULL,
  resource_revision INTEGER NOT NULL,
  feed_floor INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE resources (
  organisation TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  spec BLOB NOT NULL,
  labels BLOB NOT NULL,
  alias TEXT,
  revision INTEGER NOT NULL,
  create_ms INTEGER NOT NULL,
  update_ms INTEGER NOT NULL,
  PRIMARY KEY (organisation, kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX resources_revision ON resources (organisation, revision);
CREATE UNIQUE INDEX resources_alias ON resources (organisation, kind, alias)
  WHERE alias IS NOT NULL;

CREATE TABLE tokens (
  id INTEGER PRIMARY KEY,
  organisation TEXT NOT NULL,
  hash BLOB NOT NULL,
  application TEXT NOT NULL,
  spec BLOB NOT NULL,
  revision INTEGER NOT NULL,
  create_ms INTEGER NOT NULL,
  update_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX tokens_hash ON tokens (organisation, hash);
CREATE INDEX tokens_application ON tokens (organisation, application);
CREATE INDEX tokens_revision ON tokens (organisation, revision);
CREATE INDEX tokens_expires ON tokens (expires_ms) WHERE expires_ms > 0;

CREATE TABLE tombstones (
  organisation TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  revision INTEGER NOT NULL,
  PRIMARY KEY (organisation, kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstones_revision ON tombstones (organisation, revision);

CREATE TABLE documents (
  organisation TEXT NOT NULL,
  collection TEXT NOT NULL,
  key TEXT NOT NULL,
  blob BLOB NOT NULL,
  expires_ms INTEGER NOT NULL,
  PRIMARY KEY (organisation, collection, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX documents_expires ON documents (expires_ms) WHERE expires_ms > 0;

CREATE TABLE records (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  organisation TEXT NOT NULL,
  api TEXT NOT NULL,
  application TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  end_ms INTEGER NOT NULL,
  record BLOB NOT NULL
) STRICT;
CREATE INDEX records_api ON records (organisation, api, id);
CREATE INDEX records_application ON records (organisation, application, id);
CREATE INDEX records_connection ON records (organisation, connection_id, id);

CREATE TABLE record_heads (
  organisation TEXT NOT NULL,
  proxy TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  dropped INTEGER NOT NULL,
  PRIMARY KEY (organisation, proxy, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollups (
  organisation TEXT NOT NULL,
  hour_ms INTEGER NOT NULL,
  api TEXT NOT NULL,
  application TEXT NOT NULL,
  key_type INTEGER NOT NULL,
  connections INTEGER NOT NULL,
  refused INTEGER NOT NULL,
  messages_up INTEGER NOT NULL,
  messages_down INTEGER NOT NULL,
  bytes_up INTEGER NOT NULL,
  bytes_down INTEGER NOT NULL,
  throttled INTEGER NOT NULL,
  PRIMARY KEY (organisation, hour_ms, api, application, key_type)
) STRICT, WITHOUT ROWID;

CREATE TABLE connections (
  id INTEGER PRIMARY KEY,
  organisation TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  state INTEGER NOT NULL,
  last_report_ms INTEGER NOT NULL,
  record BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX connections_connection ON connections (organisation, connection_id);
CREATE INDEX connections_state ON connections (organisation, state, last_report_ms);

CREATE TABLE probe (id INTEGER PRIMARY KEY, fill BLOB NOT NULL) STRICT;
)sql",
};

absl::StatusOr<std::int64_t> user_version(Database& database) {
  Statement statement = database.prepare("PRAGMA user_version");
  SLUICE_RETURN_IF_ERROR(statement.step().status());
  return statement.integer(0);
}

}  // namespace

int schema_version() { return static_cast<int>(std::size(kMigrations)); }

absl::Status migrate(Database& database) {
  SLUICE_ASSIGN_OR_RETURN(const std::int64_t version, user_version(database));
  if (version > schema_version()) {
    return failed_precondition(
        fmt::format("{}: written by a newer version of sluice-control (schema {}, this one knows "
                    "{}); start that "
                    "version, or restore a backup",
                    database.path(), version, schema_version()));
  }
  for (std::int64_t next = version; next < schema_version(); ++next) {
    const std::string sql = fmt::format("BEGIN IMMEDIATE; {} PRAGMA user_version = {}; COMMIT",
                                        kMigrations[next], next + 1);
    if (absl::Status status = database.exec(sql.c_str()); !status.ok()) {
      if (database.in_transaction()) {
        database.exec("ROLLBACK").IgnoreError();
      }
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace sluice::controlplane::store
