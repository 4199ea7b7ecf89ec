#include "proxy/config/last_good.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "proxy/base/log.h"

namespace sluice::config {
namespace {

// Raised when the table's form changes; an older or newer file is begun anew.
constexpr int kFormat = 1;
constexpr char kFile[] = "last-good.db";

// EXCLUSIVE locking with the write-ahead log keeps the shared-memory file away; NORMAL syncs at
// checkpoints: a power cut may lose the newest saves, never their wholeness.
constexpr char kSetup[] =
    "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
    "PRAGMA journal_size_limit=4194304;";
constexpr char kCreate[] =
    "CREATE TABLE IF NOT EXISTS resources (kind TEXT NOT NULL, name TEXT NOT NULL,"
    " version TEXT NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (kind, name)) STRICT, WITHOUT ROWID;";

struct Closer {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using Db = std::unique_ptr<sqlite3, Closer>;

int exec(sqlite3* db, const char* sql) { return sqlite3_exec(db, sql, nullptr, nullptr, nullptr); }

int format_of(sqlite3* db) {
  int format = -1;
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &statement, nullptr) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW) {
    format = sqlite3_column_int(statement, 0);
  }
  sqlite3_finalize(statement);
  return format;
}

bool is_whole(sqlite3* db) {
  bool whole = false;
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, nullptr) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
    whole = text != nullptr && std::strcmp(text, "ok") == 0;
  }
  sqlite3_finalize(statement);
  return whole;
}

// What is wrong with the file as such, or "" and `db` is ready.
std::string try_open(const std::string& path, Db& db) {
  sqlite3* raw = nullptr;
  const int opened = sqlite3_open_v2(
      path.c_str(), &raw,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
      nullptr);
  db.reset(raw);
  if (opened != SQLITE_OK || exec(raw, kSetup) != SQLITE_OK) {
    return sqlite3_errmsg(raw);
  }
  const int format = format_of(raw);
  if (format != 0 && format != kFormat) {
    return fmt::format("it has format {}, this program writes {}", format, kFormat);
  }
  if (!is_whole(raw)) {
    return "it is damaged";
  }
  const std::string create =
      fmt::format("BEGIN IMMEDIATE; {} PRAGMA user_version={}; COMMIT;", kCreate, kFormat);
  if (exec(raw, create.c_str()) != SQLITE_OK) {
    const std::string why = sqlite3_errmsg(raw);
    exec(raw, "ROLLBACK");
    return why;
  }
  return "";
}

void set_aside(const std::string& path) {
  const std::string aside = path + ".damaged";
  for (const char* suffix : {"", "-wal", "-journal", "-shm"}) {
    const std::string from = path + suffix;
    if (std::rename(from.c_str(), (aside + suffix).c_str()) != 0 && errno != ENOENT) {
      log::warning("{} cannot be renamed: {}", from, std::strerror(errno));
    }
  }
}

// Tokens' hashes and certificates' keys are nobody else's business.
void make_private(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd >= 0) {
    (void)::fchmod(fd, 0600);
    ::close(fd);
  }
}

void bind_text(sqlite3_stmt* statement, int index, std::string_view text) {
  sqlite3_bind_text(statement, index, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}

bool run(sqlite3_stmt* statement) {
  const bool done = sqlite3_step(statement) == SQLITE_DONE;
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  return done;
}

std::string column(sqlite3_stmt* statement, int index) {
  const void* data = sqlite3_column_blob(statement, index);
  const int size = sqlite3_column_bytes(statement, index);
  return data == nullptr ? "" : std::string(static_cast<const char*>(data), size);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LastGood>> LastGood::open(const std::string& data_dir) {
  const std::string path = data_dir + "/" + kFile;
  make_private(path);
  Db db;
  std::string why = try_open(path, db);
  if (!why.empty()) {
    const int code = sqlite3_errcode(db.get()) & 0xff;
    db.reset();
    // Another process's file, and a disk that does not take writes, are not damage.
    if (code == SQLITE_BUSY || code == SQLITE_CANTOPEN || code == SQLITE_FULL ||
        code == SQLITE_READONLY || code == SQLITE_PERM) {
      return unavailable(
          fmt::format("{} cannot be used: {}; is {} writable, not full, and no "
                      "other proxy's data directory?",
                      path, why, data_dir));
    }
    log::warning("{} is set aside as {}.damaged and begun anew: {}", path, kFile, why);
    set_aside(path);
    make_private(path);
    why = try_open(path, db);
    if (!why.empty()) {
      return unavailable(fmt::format("{} cannot be made: {}", path, why));
    }
  }
  std::unique_ptr<LastGood> made(new LastGood(path, db.release()));
  if (sqlite3_prepare_v3(made->db_, "INSERT OR REPLACE INTO resources VALUES (?1, ?2, ?3, ?4)", -1,
                         SQLITE_PREPARE_PERSISTENT, &made->put_, nullptr) != SQLITE_OK ||
      sqlite3_prepare_v3(made->db_, "DELETE FROM resources WHERE kind = ?1 AND name = ?2", -1,
                         SQLITE_PREPARE_PERSISTENT, &made->erase_, nullptr) != SQLITE_OK) {
    return made->error("open");
  }
  return made;
}

LastGood::LastGood(std::string path, sqlite3* db) : path_(std::move(path)), db_(db) {}

LastGood::~LastGood() {
  sqlite3_finalize(put_);
  sqlite3_finalize(erase_);
  sqlite3_close_v2(db_);
}

absl::Status LastGood::error(const char* doing) const {
  return unavailable(
      fmt::format("{}: cannot {}: {}; make room or give this program the right to "
                  "write there",
                  path_, doing, sqlite3_errmsg(db_)));
}

absl::Status LastGood::save(const Delta& delta) {
  if (delta.empty()) {
    return absl::OkStatus();
  }
  bool good = exec(db_, "BEGIN IMMEDIATE") == SQLITE_OK;
  for (const Resource& resource : delta.upserts) {
    if (!good) {
      break;
    }
    bind_text(put_, 1, kind_name(resource.kind));
    bind_text(put_, 2, resource.name);
    bind_text(put_, 3, resource.version);
    sqlite3_bind_blob64(put_, 4, resource.bytes.data(), resource.bytes.size(), SQLITE_STATIC);
    good = run(put_);
  }
  for (const ResourceKey& key : delta.removals) {
    if (!good) {
      break;
    }
    bind_text(erase_, 1, kind_name(key.kind));
    bind_text(erase_, 2, key.name);
    good = run(erase_);
  }
  good = good && exec(db_, "COMMIT") == SQLITE_OK;
  if (good) {
    return absl::OkStatus();
  }
  absl::Status failed = error("save");
  if (sqlite3_get_autocommit(db_) == 0) {
    exec(db_, "ROLLBACK");
  }
  return failed;
}

absl::StatusOr<LastGood::Content> LastGood::load() {
  Content content;
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db_, "SELECT kind, name, version, bytes FROM resources", -1, &statement,
                         nullptr) != SQLITE_OK) {
    return error("read");
  }
  int step = SQLITE_ROW;
  while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
    const std::optional<Kind> kind = kind_from_name(column(statement, 0));
    if (!kind) {
      continue;  // of a newer program; it is asked for again
    }
    Resource resource{*kind, column(statement, 1), column(statement, 2), column(statement, 3)};
    Delta& to = resource.kind < Kind::kToken ? content.config : content.identities;
    to.upserts.push_back(std::move(resource));
  }
  sqlite3_finalize(statement);
  if (step != SQLITE_DONE) {
    return error("read");
  }
  std::stable_sort(content.config.upserts.begin(), content.config.upserts.end(),
                   [](const Resource& a, const Resource& b) { return a.kind < b.kind; });
  return content;
}

}  // namespace sluice::config
