#include "controlplane/store/database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "proxy/base/check.h"

namespace sluice::controlplane::store {
namespace {

// SQLite takes a null pointer for NULL.
const char* bytes_of(std::string_view value) { return value.data() == nullptr ? "" : value.data(); }

constexpr int kBusyMs = 5000;  // a second process (reset-admin-password) may hold the write lock

absl::Status create_private(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return unavailable(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
  }
  ::close(fd);
  return absl::OkStatus();
}

}  // namespace

Statement::Statement(Database& database, sqlite3_stmt* statement, std::string_view sql)
    : database_(database), statement_(statement), sql_(sql) {}

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      sql_(other.sql_),
      next_(other.next_) {}

Statement::~Statement() {
  if (statement_ != nullptr) {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
}

Statement& Statement::bind(std::int64_t value) {
  if (statement_ != nullptr) {
    SLUICE_CHECK(sqlite3_bind_int64(statement_, next_++, value) == SQLITE_OK);
  }
  return *this;
}

Statement& Statement::bind_text(std::string_view value) {
  if (statement_ != nullptr) {
    SLUICE_CHECK(sqlite3_bind_text64(statement_, next_++, bytes_of(value), value.size(),
                                     SQLITE_STATIC, SQLITE_UTF8) == SQLITE_OK);
  }
  return *this;
}

Statement& Statement::bind_blob(std::string_view value) {
  if (statement_ != nullptr) {
    SLUICE_CHECK(sqlite3_bind_blob64(statement_, next_++, bytes_of(value), value.size(),
                                     SQLITE_STATIC) == SQLITE_OK);
  }
  return *this;
}

Statement& Statement::bind_null() {
  if (statement_ != nullptr) {
    SLUICE_CHECK(sqlite3_bind_null(statement_, next_++) == SQLITE_OK);
  }
  return *this;
}

absl::StatusOr<bool> Statement::step() {
  if (statement_ == nullptr) {
    return database_.failure_;  // of prepare()
  }
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) {
    return true;
  }
  if (code == SQLITE_DONE) {
    return false;
  }
  return database_.fail(sqlite3_extended_errcode(sqlite3_db_handle(statement_)), sql_);
}

absl::Status Statement::run() { return step().status(); }

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string Statement::text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr
             ? std::string()
             : std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

absl::StatusOr<std::unique_ptr<Database>> Database::open(const std::string& path, Access access) {
  if (access == Access::kWriter) {
    SLUICE_RETURN_IF_ERROR(create_private(path));
  }
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<Database> database(new Database(handle, path));
  if (code != SQLITE_OK) {
    return database->status(code, "open");
  }
  sqlite3_busy_timeout(handle, kBusyMs);
  SLUICE_RETURN_IF_ERROR(database->exec(
      access == Access::kWriter
          ? "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;"
            "PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY"
          : "PRAGMA query_only = 1; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY"));
  return database;
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) {
    sqlite3_finalize(statement);
  }
  sqlite3_close(handle_);
}

Statement Database::prepare(const char* sql) {
  sqlite3_stmt*& statement = statements_[sql];
  if (statement == nullptr) {
    const int code =
        sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) {
      statements_.erase(sql);
      SLUICE_CHECK(code != SQLITE_ERROR);  // our SQL and our schema
      fail(sqlite3_extended_errcode(handle_), sql).IgnoreError();
      return Statement(*this, nullptr, sql);
    }
  }
  return Statement(*this, statement, sql);
}

absl::Status Database::exec(const char* sql) {
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) == SQLITE_OK) {
    return absl::OkStatus();
  }
  return fail(sqlite3_extended_errcode(handle_), sql);
}

std::int64_t Database::changed() const { return sqlite3_changes64(handle_); }

bool Database::in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

absl::Status Database::fail(int code, std::string_view sql) {
  absl::Status result = status(code, sql);
  if ((code & 0xff) != SQLITE_CONSTRAINT) {
    failure_ = result;
  }
  return result;
}

absl::Status Database::status(int code, std::string_view sql) const {
  const char* detail = handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_);
  switch (code & 0xff) {
    case SQLITE_FULL:
      return unavailable(
          fmt::format("{}: the disk is full; free space there, writes go on by themselves", path_));
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_NOMEM:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return unavailable(fmt::format(
          "{}: cannot be accessed: {} ({}); see to its disk and permissions, it goes on by itself",
          path_, detail, sqlite3_errstr(code)));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return internal_error(
          fmt::format("{}: the file is damaged ({}); restore it from a backup", path_, detail));
    case SQLITE_CONSTRAINT:
      return absl::AlreadyExistsError(detail);
    default:
      return internal_error(fmt::format("{}: {} in: {}", path_, detail, sql));
  }
}

}  // namespace sluice::controlplane::store
