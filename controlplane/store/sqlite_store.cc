#include "controlplane/store/sqlite_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "controlplane/model/limits.h"
#include "controlplane/store/documents.h"
#include "controlplane/store/feed.h"
#include "controlplane/store/readers.h"
#include "controlplane/store/records.h"
#include "controlplane/store/resources.h"
#include "controlplane/store/schema.h"
#include "controlplane/store/writer.h"

namespace sluice::controlplane::store {
namespace {

// An expired token stays so long, so that a proxy which asks hears `expired` and not `unknown`.
constexpr std::int64_t kRareMaintenanceMs = 60'000;

// Held while the store is open; the kernel lets go of it when the process ends in whatever way.
class FileLock {
 public:
  explicit FileLock(int fd) : fd_(fd) {}
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~FileLock() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }

  static absl::StatusOr<FileLock> take(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
      return unavailable(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
    }
    FileLock lock(fd);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      return failed_precondition(fmt::format(
          "{}: another sluice-control has this data directory open; stop it first", path));
    }
    return lock;
  }

 private:
  int fd_;
};

class SqliteStore final : public Store {
 public:
  SqliteStore(SqliteOptions options, FileLock lock, std::unique_ptr<Database> database,
              std::unique_ptr<Readers> readers, std::map<std::string, std::int64_t> revisions)
      : options_(std::move(options)),
        lock_(std::move(lock)),
        readers_(std::move(readers)),
        feed_(std::move(revisions)),
        writer_(std::move(database), [this](Database& writer) { return maintain(writer); }) {}

  using Store::commit;
  absl::StatusOr<Row> get(const std::string& organisation, const std::string& kind,
                          const std::string& name) const override {
    return readers_->run(
        [&](Database& database) { return get_row(database, organisation, kind, name); });
  }
  absl::StatusOr<std::vector<Row>> list(const std::string& organisation, const std::string& kind,
                                        const ListOptions& options) const override {
    return readers_->run(
        [&](Database& database) { return list_rows(database, organisation, kind, options); });
  }
  absl::StatusOr<std::vector<Row>> all(const std::string& organisation,
                                       const std::string& kind) const override {
    ListOptions options;
    options.limit = std::numeric_limits<std::size_t>::max();
    return list(organisation, kind, options);
  }
  absl::StatusOr<std::int64_t> count(const std::string& organisation,
                                     const std::string& kind) const override {
    return readers_->run(
        [&](Database& database) { return count_rows(database, organisation, kind); });
  }
  absl::StatusOr<std::vector<Row>> tokens_of(const std::string& organisation,
                                             const std::string& application) const override {
    return readers_->run([&](Database& database) {
      return application_tokens(database, organisation, application);
    });
  }
  absl::StatusOr<Row> credential_by_key(const std::string& organisation,
                                        const std::string& consumer_key) const override {
    return readers_->run([&](Database& database) {
      return row_by_alias(database, organisation, "Credential", consumer_key);
    });
  }

  absl::StatusOr<std::int64_t> commit(const std::string& organisation, Commit commit) override;

  std::int64_t revision(const std::string& organisation) const override {
    return feed_.revision(organisation);
  }
  absl::StatusOr<std::vector<Change>> changes(const std::string& organisation, std::int64_t after,
                                              std::size_t limit, FeedPart part) const override {
    return readers_->run_snapshot([&](Database& database) {
      return changes_after(database, organisation, after, limit, part);
    });
  }
  FeedHandle subscribe(const std::string& organisation,
                       std::function<void(std::int64_t)> callback) override {
    return feed_.subscribe(organisation, std::move(callback));
  }

  absl::Status put_document(const std::string& organisation, const std::string& collection,
                            const std::string& key, const std::string& blob,
                            std::int64_t expires_ms) override {
    const DocumentKey where{organisation, collection, key};
    return writer_.run(
        [&](Database& database) { return store::put_document(database, where, blob, expires_ms); },
        nullptr);
  }
  absl::StatusOr<Document> get_document(const std::string& organisation,
                                        const std::string& collection,
                                        const std::string& key) const override {
    const DocumentKey where{organisation, collection, key};
    return readers_->run(
        [&](Database& database) { return store::get_document(database, where, now_ms()); });
  }
  absl::Status delete_document(const std::string& organisation, const std::string& collection,
                               const std::string& key) override {
    const DocumentKey where{organisation, collection, key};
    return writer_.run([&](Database& database) { return store::delete_document(database, where); },
                       nullptr);
  }
  absl::StatusOr<std::vector<Document>> list_documents(
      const std::string& organisation, const std::string& collection) const override {
    return readers_->run([&](Database& database) {
      return store::list_documents(database, organisation, collection, now_ms());
    });
  }

  absl::Status append_records(const std::string& organisation, const std::string& proxy,
                              std::vector<telemetry::v1::Record> records) override;
  absl::StatusOr<std::uint64_t> last_sequence(const std::string& organisation,
                                              const std::string& proxy,
                                              std::uint64_t epoch) const override {
    return readers_->run([&](Database& database) -> absl::StatusOr<std::uint64_t> {
      SLUICE_ASSIGN_OR_RETURN(const RecordHead head,
                              record_head(database, organisation, proxy, epoch));
      return head.sequence;
    });
  }
  absl::StatusOr<std::vector<RecordHead>> record_heads(
      const std::string& organisation) const override {
    return readers_->run(
        [&](Database& database) { return store::record_heads(database, organisation); });
  }
  absl::StatusOr<RecordPage> list_records(const std::string& organisation,
                                          const RecordFilter& filter) const override {
    return readers_->run(
        [&](Database& database) { return store::list_records(database, organisation, filter); });
  }
  absl::StatusOr<std::vector<UsageSum>> usage(const std::string& organisation,
                                              const std::string& api,
                                              const std::string& application,
                                              std::int64_t since_ms) const override {
    UsageSum of;
    of.api = api;
    of.application = application;
    return readers_->run(
        [&](Database& database) { return store::usage(database, organisation, of, since_ms); });
  }
  absl::StatusOr<std::vector<ConnectionState>> connections(
      const std::string& organisation, const ConnectionFilter& filter) const override {
    return readers_->run_snapshot(
        [&](Database& database) { return store::connections(database, organisation, filter); });
  }

  absl::Status writable() const override { return writer_.health(); }

 private:
  std::int64_t now_ms() const { return to_ms(options_.now()); }
  absl::Status maintain(Database& database);

  const SqliteOptions options_;
  const FileLock lock_;
  const std::unique_ptr<Readers> readers_;
  Feed feed_;
  std::int64_t rare_maintenance_ms_ = 0;  // the writer's thread
  Writer writer_;                         // last: its thread uses the rest
};

absl::StatusOr<std::int64_t> SqliteStore::commit(const std::string& organisation, Commit commit) {
  Committed result;
  SLUICE_RETURN_IF_ERROR(writer_.run(
      [&](Database& database) -> absl::Status {
        SLUICE_ASSIGN_OR_RETURN(result, commit_writes(database, organisation, commit, now_ms()));
        return absl::OkStatus();
      },
      [&] {
        if (result.wrote) {
          feed_.publish(organisation, result.revision);
        }
      }));
  return result.revision;
}

absl::Status SqliteStore::append_records(const std::string& organisation, const std::string& proxy,
                                         std::vector<telemetry::v1::Record> records) {
  for (telemetry::v1::Record& record : records) {
    record.set_proxy(proxy);
  }
  std::stable_sort(records.begin(), records.end(), [](const auto& a, const auto& b) {
    return std::pair(a.epoch(), a.sequence()) < std::pair(b.epoch(), b.sequence());
  });
  return writer_.run(
      [&](Database& database) {
        return store::append_records(database, organisation, proxy, records, now_ms());
      },
      nullptr);
}

absl::Status SqliteStore::maintain(Database& database) {
  const std::int64_t now = now_ms();
  SLUICE_RETURN_IF_ERROR(
      collect_tokens(database, now - limits::kExpiredTokenKeepMs, limits::kCollectBatch));
  SLUICE_RETURN_IF_ERROR(collect_tombstones(database, options_.tombstones_max));
  SLUICE_RETURN_IF_ERROR(collect_documents(database, now));
  SLUICE_RETURN_IF_ERROR(collect_records(database, options_.records_max, limits::kCollectBatch));
  if (now - rare_maintenance_ms_ >= kRareMaintenanceMs) {
    rare_maintenance_ms_ = now;
    SLUICE_RETURN_IF_ERROR(collect_connections(database, options_.connections_max, now));
    SLUICE_RETURN_IF_ERROR(collect_rollups(database, now));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> open_sqlite(SqliteOptions options) {
  SLUICE_ASSIGN_OR_RETURN(FileLock lock, FileLock::take(options.path + ".lock"));
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                          Database::open(options.path, Database::Access::kWriter));
  SLUICE_RETURN_IF_ERROR(migrate(*database));
  SLUICE_ASSIGN_OR_RETURN(auto newest, revisions(*database));
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<Readers> readers,
                          Readers::open(options.path, options.readers));
  return std::make_unique<SqliteStore>(std::move(options), std::move(lock), std::move(database),
                                       std::move(readers), std::move(newest));
}

}  // namespace sluice::controlplane::store
