// One connection to a SQLite file: statements that are compiled once, and errors as Status.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "proxy/base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace sluice::controlplane::store {

class Database;

// A compiled statement in use; reset when it goes. Bind in order, then step() until it says false.
class Statement {
 public:
  Statement(Database& database, sqlite3_stmt* statement, std::string_view sql);
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::int64_t value);
  Statement& bind_unsigned(std::uint64_t value) { return bind(static_cast<std::int64_t>(value)); }
  // The bytes must live until the statement is gone.
  Statement& bind_text(std::string_view value);
  Statement& bind_blob(std::string_view value);
  Statement& bind_null();

  // True: a row is there. False: done.
  absl::StatusOr<bool> step();
  // step() of what yields no rows.
  absl::Status run();

  std::int64_t integer(int column) const;
  std::uint64_t unsigned_integer(int column) const {
    return static_cast<std::uint64_t>(integer(column));
  }
  std::string text(int column) const;  // of a TEXT or BLOB column

 private:
  Database& database_;
  sqlite3_stmt* statement_;
  std::string_view sql_;
  int next_ = 1;
};

// One thread at a time.
class Database {
 public:
  enum class Access { kWriter, kReader };
  // A writer makes the file, 0600, and switches it to WAL.
  static absl::StatusOr<std::unique_ptr<Database>> open(const std::string& path, Access access);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // `sql` must live as long as the database: a literal. A fault in it is a bug of ours.
  Statement prepare(const char* sql);
  // One or more statements without parameters and rows.
  absl::Status exec(const char* sql);
  // Rows that the last statement changed.
  std::int64_t changed() const;
  // Whether a transaction is open: SQLite itself rolls back on some failures.
  bool in_transaction() const;
  const std::string& path() const { return path_; }

  // What SQLite's result code means to people.
  absl::Status status(int code, std::string_view sql) const;
  // A statement failed for a reason that is not the data's (full disk, damage): kept until cleared.
  const absl::Status& failure() const { return failure_; }
  void clear_failure() { failure_ = absl::OkStatus(); }

 private:
  friend class Statement;
  Database(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  absl::Status fail(int code, std::string_view sql);

  sqlite3* handle_;
  std::string path_;
  std::unordered_map<const char*, sqlite3_stmt*> statements_;
  absl::Status failure_;
};

}  // namespace sluice::controlplane::store
