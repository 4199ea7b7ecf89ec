// The connections that read, each in use by one thread at a time.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "controlplane/store/database.h"

namespace sluice::controlplane::store {

// Any thread.
class Readers {
 public:
  static absl::StatusOr<std::unique_ptr<Readers>> open(const std::string& path, std::size_t count) {
    std::unique_ptr<Readers> readers(new Readers);
    for (std::size_t i = 0; i < count; ++i) {
      SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                              Database::open(path, Database::Access::kReader));
      readers->free_.push_back(std::move(database));
    }
    return readers;
  }

  // Waits for a free connection and calls `read(database)`, which gives a StatusOr.
  template <class Read>
  auto run(Read read) {
    std::unique_ptr<Database> database = take();
    auto result = read(*database);
    give(std::move(database));
    return result;
  }

  // The same, with all reads as of one moment.
  template <class Read>
  auto run_snapshot(Read read) {
    return run([&](Database& database) -> decltype(read(database)) {
      SLUICE_RETURN_IF_ERROR(database.exec("BEGIN"));
      auto result = read(database);
      database.exec("ROLLBACK").IgnoreError();
      return result;
    });
  }

 private:
  Readers() = default;

  std::unique_ptr<Database> take() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return !free_.empty(); });
    std::unique_ptr<Database> database = std::move(free_.back());
    free_.pop_back();
    return database;
  }
  void give(std::unique_ptr<Database> database) {
    {
      std::lock_guard lock(mutex_);
      free_.push_back(std::move(database));
    }
    wake_.notify_one();
  }

  std::mutex mutex_;  // guards free_
  std::condition_variable wake_;
  std::vector<std::unique_ptr<Database>> free_;
};

}  // namespace sluice::controlplane::store
