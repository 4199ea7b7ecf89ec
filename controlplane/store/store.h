// The desired state and what happened: resources with revisions and a change feed, access tokens,
// documents with an expiry, and records with their roll-ups. SqliteStore implements it.
//
// Every call takes the organisation first. Calls block (on a read or on the disk) and may be made
// from any thread but gRPC's and the control thread's own loop. A write has reached the disk when
// its call returns OK. Errors: UNAVAILABLE when the store cannot be written (full disk ...), naming
// the place and the remedy; reads go on meanwhile and writes heal alone. INTERNAL when the file is
// damaged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/status.h"
#include "sluice/config/v1/config.pb.h"
#include "sluice/telemetry/v1/telemetry.pb.h"

namespace sluice::controlplane::store {

// The one organisation until tenants come.
inline constexpr char kDefaultOrganisation[] = "default";
// The kind of access tokens; its rows are named by the token's SHA-256, lower-case hex, and live in
// a table of their own. All other kinds are resources: Api, Plan, Application, ...
inline constexpr char kTokenKind[] = "Token";

using Labels = std::map<std::string, std::string>;

struct Row {
  std::string kind;
  std::string name;
  std::string spec;  // serialised sluice.config.v1.<kind>
  Labels labels;
  std::int64_t revision = 0;  // of its last change
  std::int64_t create_ms = 0;
  std::int64_t update_ms = 0;
};

struct Write {
  std::string kind;
  std::string name;
  std::optional<std::string> spec;  // none: delete; deleting what does not exist is NOT_FOUND
  std::optional<Labels> labels = std::nullopt;  // none: keeps those it has
  // The row must have this revision (0: must not exist), else FAILED_PRECONDITION.
  std::optional<std::int64_t> expected_revision = std::nullopt;
};

struct RowKey {
  std::string kind;
  std::string name;
};

// Ends all tokens of an application, or of one of its Credentials, as they are when the transaction
// runs. One that never expires gets an end (kEndedTokenKeep), so that it is collected some day.
struct EndTokens {
  std::string application;
  std::string credential = {};  // empty: all
  // False: the application is gone, which says enough; they stay as they are until they expire, so
  // that a proxy can say why it refuses them.
  bool revoke = true;
};
// How long a token that never expires is kept once it has been ended.
inline constexpr nanoseconds kEndedTokenKeep = std::chrono::hours(24 * 30);

struct DocumentWrite {
  std::string collection;
  std::string key;
  std::optional<std::string> blob;  // none: delete, which may find nothing
  std::int64_t expires_ms = 0;      // 0: never
};

// Every document of a collection whose blob is this: a user's sessions.
struct DocumentDrop {
  std::string collection;
  std::string blob;
};

// One transaction: all of it or nothing.
struct Commit {
  std::vector<Write> writes;
  // Must exist when the transaction runs, else FAILED_PRECONDITION.
  std::vector<RowKey> required;
  // No resource (tokens do not count) may have changed after this revision, else ABORTED: read
  // again and try again.
  std::optional<std::int64_t> unchanged_since;
  // After the writes.
  std::vector<EndTokens> end_tokens;
  // In this order. They make no revision.
  std::vector<DocumentWrite> documents;
  std::vector<DocumentDrop> drop_documents;
};

struct Change {
  std::int64_t revision = 0;
  std::string kind;
  std::string name;
  bool deleted = false;
};

// Which changes: tokens are many, and only few want to hear of them.
enum class FeedPart { kAll, kResources };

struct ListOptions {
  std::string prefix;  // of the name; for tokens an even number of hex digits
  std::string after;   // names greater than this
  std::size_t limit = 1000;
};

struct Document {
  std::string key;
  std::string blob;
  std::int64_t expires_ms = 0;  // 0: never
};

struct RecordFilter {
  std::string api;             // empty: all
  std::string application;     // empty: all
  std::string connection_id;   // empty: all
  std::int64_t since_ms = 0;   // `end` not before
  std::int64_t before_id = 0;  // for the next page; 0: from the newest
  std::size_t limit = 100;
};

struct RecordPage {
  std::vector<telemetry::v1::Record> records;  // newest first
  std::int64_t next_before_id = 0;             // 0: that was the last page
};

struct UsageSum {
  std::string api;
  std::string application;
  config::v1::KeyType key_type = config::v1::KEY_TYPE_UNSPECIFIED;
  std::uint64_t connections = 0;  // whose first record came in
  std::uint64_t refused = 0;
  std::uint64_t messages_up = 0;
  std::uint64_t messages_down = 0;
  std::uint64_t bytes_up = 0;
  std::uint64_t bytes_down = 0;
  std::uint64_t throttled = 0;
};

// What the records say of one connection: descriptive fields as in the last record, counts as sums.
struct ConnectionState {
  telemetry::v1::Record record;
  std::int64_t last_report_ms = 0;
  bool live = false;
};

struct ConnectionFilter {
  bool live_only = true;
  bool refused = false;       // refused handshakes too; implies not live_only
  std::string connection_id;  // this one, whatever its state
  std::size_t limit = 1000;   // newest report first
};

struct RecordHead {
  std::string proxy;
  std::uint64_t epoch = 0;
  std::uint64_t sequence = 0;  // the highest that is stored
  std::uint64_t dropped = 0;   // counted by the proxy as lost to a full spool
};

// Unsubscribes when destroyed; returns only when no callback runs. Not to be destroyed inside one.
class FeedHandle {
 public:
  FeedHandle() = default;
  explicit FeedHandle(std::function<void()> unsubscribe) : unsubscribe_(std::move(unsubscribe)) {}
  FeedHandle(FeedHandle&& other) noexcept
      : unsubscribe_(std::exchange(other.unsubscribe_, nullptr)) {}
  FeedHandle& operator=(FeedHandle&& other) noexcept {
    std::swap(unsubscribe_, other.unsubscribe_);
    return *this;
  }
  ~FeedHandle() {
    if (unsubscribe_) {
      unsubscribe_();
    }
  }

 private:
  std::function<void()> unsubscribe_;
};

class Store {
 public:
  virtual ~Store() = default;

  // ---- resources and tokens
  // NOT_FOUND: no such row.
  virtual absl::StatusOr<Row> get(const std::string& organisation, const std::string& kind,
                                  const std::string& name) const = 0;
  // By name.
  virtual absl::StatusOr<std::vector<Row>> list(const std::string& organisation,
                                                const std::string& kind,
                                                const ListOptions& options) const = 0;
  // The whole kind, by name, as of one moment.
  virtual absl::StatusOr<std::vector<Row>> all(const std::string& organisation,
                                               const std::string& kind) const = 0;
  virtual absl::StatusOr<std::int64_t> count(const std::string& organisation,
                                             const std::string& kind) const = 0;
  // Every token of an application, expired ones that are not collected yet included.
  virtual absl::StatusOr<std::vector<Row>> tokens_of(const std::string& organisation,
                                                     const std::string& application) const = 0;
  // The Credential whose consumer_key this is. NOT_FOUND.
  virtual absl::StatusOr<Row> credential_by_key(const std::string& organisation,
                                                const std::string& consumer_key) const = 0;

  // Answers with the revision that the transaction made. A commit that changes nothing (no writes)
  // answers with the present one. ALREADY_EXISTS: another Credential has that consumer_key.
  virtual absl::StatusOr<std::int64_t> commit(const std::string& organisation, Commit commit) = 0;
  absl::StatusOr<std::int64_t> commit(const std::string& organisation, std::vector<Write> writes) {
    Commit whole;
    whole.writes = std::move(writes);
    return commit(organisation, std::move(whole));
  }

  // ---- the change feed
  // The newest revision; 0 at the beginning. Does not touch the disk.
  virtual std::int64_t revision(const std::string& organisation) const = 0;
  // What changed after `after`, each row once with its last change, in order of revision. About
  // `limit` of them, never a part of a revision: go on from the last one's. OUT_OF_RANGE: deletions
  // since then are forgotten; read everything anew. Tokens that expired go without a change.
  virtual absl::StatusOr<std::vector<Change>> changes(const std::string& organisation,
                                                      std::int64_t after, std::size_t limit,
                                                      FeedPart part = FeedPart::kAll) const = 0;
  // Called after commits, before they return, with the newest revision, on the store's writer
  // thread: must not block or call the store; post.
  virtual FeedHandle subscribe(const std::string& organisation,
                               std::function<void(std::int64_t)> callback) = 0;

  // ---- documents: sessions, join tokens, password hashes, ...; not in the feed
  // `expires_ms`: wall time from which it is gone; 0: never.
  virtual absl::Status put_document(const std::string& organisation, const std::string& collection,
                                    const std::string& key, const std::string& blob,
                                    std::int64_t expires_ms) = 0;
  // NOT_FOUND also when expired.
  virtual absl::StatusOr<Document> get_document(const std::string& organisation,
                                                const std::string& collection,
                                                const std::string& key) const = 0;
  // NOT_FOUND.
  virtual absl::Status delete_document(const std::string& organisation,
                                       const std::string& collection, const std::string& key) = 0;
  // By key, without expired ones.
  virtual absl::StatusOr<std::vector<Document>> list_documents(
      const std::string& organisation, const std::string& collection) const = 0;

  // ---- records
  // Stores those that are new by (proxy, epoch, sequence), with roll-ups and connection states, in
  // one transaction; `proxy` replaces what the records say. Sequences of an epoch ascend; a gap is
  // accepted. The records that are older than the retention are dropped as new ones come.
  virtual absl::Status append_records(const std::string& organisation, const std::string& proxy,
                                      std::vector<telemetry::v1::Record> records) = 0;
  // The highest sequence stored of that epoch; 0: none.
  virtual absl::StatusOr<std::uint64_t> last_sequence(const std::string& organisation,
                                                      const std::string& proxy,
                                                      std::uint64_t epoch) const = 0;
  virtual absl::StatusOr<std::vector<RecordHead>> record_heads(
      const std::string& organisation) const = 0;
  virtual absl::StatusOr<RecordPage> list_records(const std::string& organisation,
                                                  const RecordFilter& filter) const = 0;
  // From the hour in which `since_ms` lies; by API, application and key type. Empty: all.
  virtual absl::StatusOr<std::vector<UsageSum>> usage(const std::string& organisation,
                                                      const std::string& api,
                                                      const std::string& application,
                                                      std::int64_t since_ms) const = 0;
  virtual absl::StatusOr<std::vector<ConnectionState>> connections(
      const std::string& organisation, const ConnectionFilter& filter) const = 0;

  // ---- health
  // OK, or why the last write failed. While it fails the store tries by itself once a second.
  virtual absl::Status writable() const = 0;
};

}  // namespace sluice::controlplane::store
