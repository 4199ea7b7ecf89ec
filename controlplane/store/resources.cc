#include "controlplane/store/resources.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "controlplane/store/documents.h"
#include "proxy/base/encoding.h"
#include "sluice/admin/v1/resources.pb.h"

namespace sluice::controlplane::store {
namespace {

// Columns of resources and tokens in the order of Row, for row_of().
#define SLUICE_RESOURCE_COLUMNS "kind, name, spec, labels, revision, create_ms, update_ms"
#define SLUICE_TOKEN_COLUMNS "'Token', lower(hex(hash)), spec, x'', revision, create_ms, update_ms"

std::string pack(const Labels& labels) {
  admin::v1::Meta meta;
  meta.mutable_labels()->insert(labels.begin(), labels.end());
  return meta.SerializeAsString();
}

Labels unpack(const std::string& bytes) {
  admin::v1::Meta meta;
  meta.ParseFromString(bytes);
  return Labels(meta.labels().begin(), meta.labels().end());
}

Row row_of(const Statement& statement) {
  Row row;
  row.kind = statement.text(0);
  row.name = statement.text(1);
  row.spec = statement.text(2);
  row.labels = unpack(statement.text(3));
  row.revision = statement.integer(4);
  row.create_ms = statement.integer(5);
  row.update_ms = statement.integer(6);
  return row;
}

absl::StatusOr<std::vector<Row>> rows_of(Statement statement) {
  std::vector<Row> rows;
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, statement.step());
    if (!more) {
      return rows;
    }
    rows.push_back(row_of(statement));
  }
}

// 32 bytes; empty if `name` is no SHA-256.
std::string hash_of(const std::string& name) {
  const std::optional<Sha256> hash = sha256_from_hex(name);
  return hash ? std::string(hash->begin(), hash->end()) : std::string();
}

// The least text that is greater than all that begin with `prefix`; empty: there is none.
std::string prefix_end(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) {
    prefix.pop_back();
  }
  if (!prefix.empty()) {
    prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  }
  return prefix;
}

// Of an even number of hex digits, the beginning of a hash.
std::optional<std::string> bytes_of_hex(std::string text) {
  const std::size_t size = text.size() / 2;
  text.resize(64, '0');
  const std::optional<Sha256> padded = sha256_from_hex(text);
  if (!padded) {
    return std::nullopt;
  }
  return std::string(padded->begin(), padded->begin() + static_cast<std::ptrdiff_t>(size));
}

absl::Status no_such(const std::string& kind, const std::string& name) {
  return not_found(kind == kTokenKind ? std::string("no such token")
                                      : fmt::format("{} {} does not exist", kind, name));
}

#define SLUICE_CHANGED "WHERE organisation = ?1 AND revision > ?2 AND revision <= ?3 "

struct ChangeRange {
  std::int64_t from = 0;  // exclusive
  std::int64_t to = 0;    // inclusive
  std::int64_t count = 0;
  FeedPart part = FeedPart::kAll;
};

absl::StatusOr<std::vector<Change>> select_changes(Database& database,
                                                   const std::string& organisation,
                                                   const ChangeRange& range) {
  Statement statement = database.prepare(
      range.part == FeedPart::kAll
          ? "SELECT revision, kind, name, 0 FROM resources " SLUICE_CHANGED
            "UNION ALL SELECT revision, 'Token', lower(hex(hash)), 0 FROM tokens " SLUICE_CHANGED
            "UNION ALL SELECT revision, kind, name, 1 FROM tombstones " SLUICE_CHANGED
            "ORDER BY 1 LIMIT ?4"
          : "SELECT revision, kind, name, 0 FROM resources " SLUICE_CHANGED
            "UNION ALL SELECT revision, kind, name, 1 FROM tombstones " SLUICE_CHANGED
            "AND kind != 'Token' ORDER BY 1 LIMIT ?4");
  statement.bind_text(organisation).bind(range.from).bind(range.to).bind(range.count);
  std::vector<Change> changes;
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, statement.step());
    if (!more) {
      return changes;
    }
    changes.push_back(
        {statement.integer(0), statement.text(1), statement.text(2), statement.integer(3) != 0});
  }
}

// One commit under way.
class Committer {
 public:
  Committer(Database& database, const std::string& organisation, std::int64_t now_ms)
      : database_(database), organisation_(organisation), now_ms_(now_ms) {}

  absl::StatusOr<Committed> run(const Commit& commit);

 private:
  absl::Status load(const Commit& commit);
  absl::Status require(const RowKey& key);
  absl::Status apply(const Write& write);
  absl::Status check_revision(const Write& write);
  absl::Status put_resource(const Write& write);
  absl::Status put_token(const Write& write);
  absl::Status remove(const Write& write);
  absl::Status bury(const std::string& kind, const std::string& name);
  absl::Status unbury(const std::string& kind, const std::string& name);
  absl::Status end_tokens(const EndTokens& end);
  absl::Status write_documents(const Commit& commit);
  absl::Status save();

  Database& database_;
  const std::string& organisation_;
  const std::int64_t now_ms_;
  std::int64_t revision_ = 0;           // as found
  std::int64_t resource_revision_ = 0;  // as found, then as it becomes
  bool wrote_ = false;
};

absl::StatusOr<Committed> Committer::run(const Commit& commit) {
  SLUICE_RETURN_IF_ERROR(load(commit));
  for (const RowKey& key : commit.required) {
    SLUICE_RETURN_IF_ERROR(require(key));
  }
  for (const Write& write : commit.writes) {
    SLUICE_RETURN_IF_ERROR(apply(write));
    wrote_ = true;
    if (write.kind != kTokenKind) {
      resource_revision_ = revision_ + 1;
    }
  }
  for (const EndTokens& end : commit.end_tokens) {
    SLUICE_RETURN_IF_ERROR(end_tokens(end));
  }
  SLUICE_RETURN_IF_ERROR(write_documents(commit));
  if (wrote_) {
    SLUICE_RETURN_IF_ERROR(save());
  }
  return Committed{revision_ + (wrote_ ? 1 : 0), wrote_};
}

absl::Status Committer::load(const Commit& commit) {
  Statement statement = database_.prepare(
      "SELECT revision, resource_revision FROM organisations WHERE organisation = ?");
  SLUICE_ASSIGN_OR_RETURN(const bool known, statement.bind_text(organisation_).step());
  if (known) {
    revision_ = statement.integer(0);
    resource_revision_ = statement.integer(1);
  }
  if (commit.unchanged_since && resource_revision_ > *commit.unchanged_since) {
    return absl::AbortedError("another change came first; try again");
  }
  return absl::OkStatus();
}

absl::Status Committer::require(const RowKey& key) {
  const absl::StatusOr<Row> row = get_row(database_, organisation_, key.kind, key.name);
  return absl::IsNotFound(row.status()) ? failed_precondition(message_of(row.status()))
                                        : row.status();
}

absl::Status Committer::apply(const Write& write) {
  if (write.kind == kTokenKind && hash_of(write.name).empty()) {
    return invalid_argument("a token is named by its SHA-256, 64 hex digits");
  }
  SLUICE_RETURN_IF_ERROR(check_revision(write));
  if (!write.spec) {
    return remove(write);
  }
  SLUICE_RETURN_IF_ERROR(unbury(write.kind, write.name));
  return write.kind == kTokenKind ? put_token(write) : put_resource(write);
}

absl::Status Committer::check_revision(const Write& write) {
  if (!write.expected_revision) {
    return absl::OkStatus();
  }
  const absl::StatusOr<Row> row = get_row(database_, organisation_, write.kind, write.name);
  if (!row.ok() && !absl::IsNotFound(row.status())) {
    return row.status();
  }
  const std::int64_t found = row.ok() ? row->revision : 0;
  if (found == *write.expected_revision) {
    return absl::OkStatus();
  }
  if (*write.expected_revision == 0) {
    return absl::AlreadyExistsError(fmt::format("{} {} exists already", write.kind, write.name));
  }
  return failed_precondition(fmt::format(
      "{} {} was changed meanwhile: it is at revision {}, you have seen {}; get it again",
      write.kind, write.name, found, *write.expected_revision));
}

absl::Status Committer::put_resource(const Write& write) {
  std::string alias;
  if (write.kind == "Credential") {
    config::v1::Credential credential;
    credential.ParseFromString(*write.spec);
    alias = credential.consumer_key();
  }
  // Without labels in the write a row keeps its own; ?5 and ?6 are for either case.
  const std::string labels = pack(write.labels.value_or(Labels{}));
  Statement statement = database_.prepare(
      "INSERT INTO resources (organisation, kind, name, spec, labels, alias, revision, create_ms, "
      "update_ms) VALUES (?1, ?2, ?3, ?4, ?5, nullif(?6, ''), ?7, ?8, ?8) "
      "ON CONFLICT (organisation, kind, name) DO UPDATE SET spec = ?4, "
      "labels = iif(?9, ?5, labels), alias = nullif(?6, ''), revision = ?7, update_ms = ?8");
  const absl::Status status = statement.bind_text(organisation_)
                                  .bind_text(write.kind)
                                  .bind_text(write.name)
                                  .bind_blob(*write.spec)
                                  .bind_blob(labels)
                                  .bind_text(alias)
                                  .bind(revision_ + 1)
                                  .bind(now_ms_)
                                  .bind(write.labels ? 1 : 0)
                                  .run();
  return absl::IsAlreadyExists(status)
             ? absl::AlreadyExistsError(
                   fmt::format("{} {}: its consumer key is another's", write.kind, write.name))
             : status;
}

absl::Status Committer::put_token(const Write& write) {
  config::v1::Token token;
  if (!token.ParseFromString(*write.spec)) {
    return invalid_argument("the token's spec is no sluice.config.v1.Token");
  }
  const std::int64_t expires_ms =
      token.has_expires() ? token.expires().seconds() * 1000 + token.expires().nanos() / 1'000'000
                          : 0;
  const std::string hash = hash_of(write.name);
  Statement statement = database_.prepare(
      "INSERT INTO tokens (organisation, hash, application, spec, revision, create_ms, update_ms, "
      "expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) "
      "ON CONFLICT (organisation, hash) DO UPDATE SET application = ?3, spec = ?4, revision = ?5, "
      "update_ms = ?6, expires_ms = ?7");
  return statement.bind_text(organisation_)
      .bind_blob(hash)
      .bind_text(token.application())
      .bind_blob(*write.spec)
      .bind(revision_ + 1)
      .bind(now_ms_)
      .bind(expires_ms)
      .run();
}

absl::Status Committer::remove(const Write& write) {
  if (write.kind == kTokenKind) {
    const std::string hash = hash_of(write.name);
    Statement statement =
        database_.prepare("DELETE FROM tokens WHERE organisation = ? AND hash = ?");
    SLUICE_RETURN_IF_ERROR(statement.bind_text(organisation_).bind_blob(hash).run());
  } else {
    Statement statement =
        database_.prepare("DELETE FROM resources WHERE organisation = ? AND kind = ? AND name = ?");
    SLUICE_RETURN_IF_ERROR(
        statement.bind_text(organisation_).bind_text(write.kind).bind_text(write.name).run());
  }
  if (database_.changed() == 0) {
    return no_such(write.kind, write.name);
  }
  return bury(write.kind, write.name);
}

absl::Status Committer::bury(const std::string& kind, const std::string& name) {
  Statement statement = database_.prepare(
      "INSERT OR REPLACE INTO tombstones (organisation, kind, name, revision) VALUES (?, ?, ?, ?)");
  return statement.bind_text(organisation_)
      .bind_text(kind)
      .bind_text(name)
      .bind(revision_ + 1)
      .run();
}

absl::Status Committer::unbury(const std::string& kind, const std::string& name) {
  Statement statement =
      database_.prepare("DELETE FROM tombstones WHERE organisation = ? AND kind = ? AND name = ?");
  return statement.bind_text(organisation_).bind_text(kind).bind_text(name).run();
}

absl::Status Committer::end_tokens(const EndTokens& end) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                          application_tokens(database_, organisation_, end.application));
  for (const Row& row : rows) {
    config::v1::Token token;
    if (!token.ParseFromString(row.spec)) {
      return internal_error(fmt::format("the stored token {} cannot be read", row.name));
    }
    const bool meant = end.credential.empty() || token.credential() == end.credential;
    const bool revokes = end.revoke && !token.revoked();
    if (!meant || (!revokes && token.has_expires())) {
      continue;
    }
    token.set_revoked(token.revoked() || end.revoke);
    if (!token.has_expires()) {
      token.mutable_expires()->set_seconds(now_ms_ / 1000 +
                                           duration_cast<seconds>(kEndedTokenKeep).count());
    }
    SLUICE_RETURN_IF_ERROR(put_token({kTokenKind, row.name, token.SerializeAsString()}));
    wrote_ = true;
  }
  return absl::OkStatus();
}

absl::Status Committer::write_documents(const Commit& commit) {
  for (const DocumentWrite& write : commit.documents) {
    const DocumentKey key{organisation_, write.collection, write.key};
    const absl::Status status = write.blob
                                    ? put_document(database_, key, *write.blob, write.expires_ms)
                                    : delete_document(database_, key);
    if (!status.ok() && !absl::IsNotFound(status)) {
      return status;
    }
  }
  for (const DocumentDrop& drop : commit.drop_documents) {
    SLUICE_RETURN_IF_ERROR(drop_documents(database_, organisation_, drop.collection, drop.blob));
  }
  return absl::OkStatus();
}

absl::Status Committer::save() {
  Statement statement = database_.prepare(
      "INSERT INTO organisations (organisation, revision, resource_revision, feed_floor) "
      "VALUES (?1, ?2, ?3, 0) "
      "ON CONFLICT (organisation) DO UPDATE SET revision = ?2, resource_revision = ?3");
  return statement.bind_text(organisation_).bind(revision_ + 1).bind(resource_revision_).run();
}

}  // namespace

absl::StatusOr<Committed> commit_writes(Database& database, const std::string& organisation,
                                        const Commit& commit, std::int64_t now_ms) {
  return Committer(database, organisation, now_ms).run(commit);
}

absl::StatusOr<Row> get_row(Database& database, const std::string& organisation,
                            const std::string& kind, const std::string& name) {
  const std::string hash = kind == kTokenKind ? hash_of(name) : std::string();
  Statement statement = database.prepare(
      kind == kTokenKind ? "SELECT " SLUICE_TOKEN_COLUMNS
                           " FROM tokens WHERE organisation = ? AND hash = ?"
                         : "SELECT " SLUICE_RESOURCE_COLUMNS
                           " FROM resources WHERE organisation = ? AND kind = ? AND name = ?");
  statement.bind_text(organisation);
  if (kind == kTokenKind) {
    statement.bind_blob(hash);
  } else {
    statement.bind_text(kind).bind_text(name);
  }
  SLUICE_ASSIGN_OR_RETURN(const bool found, statement.step());
  if (!found) {
    return no_such(kind, name);
  }
  return row_of(statement);
}

absl::StatusOr<std::vector<Row>> list_rows(Database& database, const std::string& organisation,
                                           const std::string& kind, const ListOptions& options) {
  const auto limit = static_cast<std::int64_t>(
      std::min<std::size_t>(options.limit, std::numeric_limits<std::int64_t>::max()));
  if (kind == kTokenKind) {
    const std::optional<std::string> begin = bytes_of_hex(options.prefix);
    const std::optional<std::string> after = bytes_of_hex(options.after);
    if (!begin || !after) {
      return invalid_argument("tokens are listed by the hex digits of their SHA-256");
    }
    const std::string end = prefix_end(*begin);
    Statement statement = database.prepare("SELECT " SLUICE_TOKEN_COLUMNS
                                           " FROM tokens WHERE organisation = ? AND hash >= ? AND "
                                           "hash > ? AND (?4 = x'' OR hash < ?4) "
                                           "ORDER BY hash LIMIT ?");
    return rows_of(std::move(statement.bind_text(organisation)
                                 .bind_blob(*begin)
                                 .bind_blob(*after)
                                 .bind_blob(end)
                                 .bind(limit)));
  }
  const std::string end = prefix_end(options.prefix);
  Statement statement = database.prepare(
      "SELECT " SLUICE_RESOURCE_COLUMNS
      " FROM resources WHERE organisation = ? AND kind = ? AND name >= ? AND name > ? "
      "AND (?5 = '' OR name < ?5) ORDER BY name LIMIT ?");
  return rows_of(std::move(statement.bind_text(organisation)
                               .bind_text(kind)
                               .bind_text(options.prefix)
                               .bind_text(options.after)
                               .bind_text(end)
                               .bind(limit)));
}

absl::StatusOr<std::int64_t> count_rows(Database& database, const std::string& organisation,
                                        const std::string& kind) {
  Statement statement = database.prepare(
      kind == kTokenKind ? "SELECT count(*) FROM tokens WHERE organisation = ?"
                         : "SELECT count(*) FROM resources WHERE organisation = ? AND kind = ?");
  statement.bind_text(organisation);
  if (kind != kTokenKind) {
    statement.bind_text(kind);
  }
  SLUICE_RETURN_IF_ERROR(statement.step().status());
  return statement.integer(0);
}

absl::StatusOr<std::vector<Row>> application_tokens(Database& database,
                                                    const std::string& organisation,
                                                    const std::string& application) {
  Statement statement = database.prepare("SELECT " SLUICE_TOKEN_COLUMNS
                                         " FROM tokens WHERE organisation = ? AND application = ?");
  return rows_of(std::move(statement.bind_text(organisation).bind_text(application)));
}

absl::StatusOr<Row> row_by_alias(Database& database, const std::string& organisation,
                                 const std::string& kind, const std::string& alias) {
  Statement statement =
      database.prepare("SELECT " SLUICE_RESOURCE_COLUMNS
                       " FROM resources WHERE organisation = ? AND kind = ? AND alias = ?");
  SLUICE_ASSIGN_OR_RETURN(
      const bool found, statement.bind_text(organisation).bind_text(kind).bind_text(alias).step());
  if (!found) {
    return not_found(fmt::format("no {} of that key", kind));
  }
  return row_of(statement);
}

absl::StatusOr<std::vector<Change>> changes_after(Database& database,
                                                  const std::string& organisation,
                                                  std::int64_t after, std::size_t limit,
                                                  FeedPart part) {
  Statement floor = database.prepare("SELECT feed_floor FROM organisations WHERE organisation = ?");
  SLUICE_ASSIGN_OR_RETURN(const bool known, floor.bind_text(organisation).step());
  if (known && after < floor.integer(0)) {
    return absl::OutOfRangeError(
        fmt::format("changes up to revision {} are forgotten", floor.integer(0)));
  }
  const auto select = [&](std::int64_t from, std::int64_t to, std::int64_t count) {
    return select_changes(database, organisation, {from, to, count, part});
  };
  SLUICE_ASSIGN_OR_RETURN(std::vector<Change> changes,
                          select(after, std::numeric_limits<std::int64_t>::max(),
                                 static_cast<std::int64_t>(std::max<std::size_t>(limit, 1))));
  if (changes.size() >= limit && !changes.empty()) {
    const std::int64_t last = changes.back().revision;
    std::erase_if(changes, [last](const Change& change) { return change.revision == last; });
    SLUICE_ASSIGN_OR_RETURN(std::vector<Change> whole, select(last - 1, last, -1));
    changes.insert(changes.end(), std::make_move_iterator(whole.begin()),
                   std::make_move_iterator(whole.end()));
  }
  return changes;
}

absl::StatusOr<std::map<std::string, std::int64_t>> revisions(Database& database) {
  Statement statement = database.prepare("SELECT organisation, revision FROM organisations");
  std::map<std::string, std::int64_t> result;
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, statement.step());
    if (!more) {
      return result;
    }
    result[statement.text(0)] = statement.integer(1);
  }
}

absl::Status collect_tokens(Database& database, std::int64_t before_ms, std::size_t batch) {
  Statement statement = database.prepare(
      "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens INDEXED BY tokens_expires "
      "WHERE expires_ms > 0 AND expires_ms < ? LIMIT ?)");
  return statement.bind(before_ms).bind(static_cast<std::int64_t>(batch)).run();
}

absl::Status collect_tombstones(Database& database, std::size_t max) {
  Statement count = database.prepare("SELECT organisation, count(*) FROM tombstones GROUP BY 1");
  std::map<std::string, std::int64_t> excess;
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, count.step());
    if (!more) {
      break;
    }
    if (count.integer(1) > static_cast<std::int64_t>(max)) {
      // Some more than needed, so that it is not needed again at once.
      excess[count.text(0)] = count.integer(1) - static_cast<std::int64_t>(max - max / 10);
    }
  }
  for (const auto& [organisation, rows] : excess) {
    Statement cut = database.prepare(
        "SELECT revision FROM tombstones WHERE organisation = ? ORDER BY revision LIMIT 1 OFFSET "
        "?");
    SLUICE_RETURN_IF_ERROR(cut.bind_text(organisation).bind(rows - 1).step().status());
    const std::int64_t floor = cut.integer(0);
    Statement forget =
        database.prepare("DELETE FROM tombstones WHERE organisation = ? AND revision <= ?");
    SLUICE_RETURN_IF_ERROR(forget.bind_text(organisation).bind(floor).run());
    Statement raise =
        database.prepare("UPDATE organisations SET feed_floor = ? WHERE organisation = ?");
    SLUICE_RETURN_IF_ERROR(raise.bind(floor).bind_text(organisation).run());
  }
  return absl::OkStatus();
}

}  // namespace sluice::controlplane::store
