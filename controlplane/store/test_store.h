// A store in a directory of its own, for tests.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "controlplane/store/sqlite_store.h"
#include "proxy/base/check.h"

namespace sluice::controlplane::store {

class TestStore {
 public:
  TestStore() : TestStore(SqliteOptions{}) {}
  // `options.path` is filled in.
  explicit TestStore(SqliteOptions options) : options_(std::move(options)) {
    std::string pattern = std::filesystem::temp_directory_path() / "sluice-store-XXXXXX";
    SLUICE_CHECK(::mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    options_.path = directory_ + "/control.db";
    open();
  }
  ~TestStore() {
    store_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  TestStore(const TestStore&) = delete;
  TestStore& operator=(const TestStore&) = delete;

  Store& operator*() { return *store_; }
  Store* operator->() { return store_.get(); }
  const std::string& path() const { return options_.path; }
  const std::string& directory() const { return directory_; }

  void close() { store_.reset(); }
  void open() {
    auto store = open_sqlite(options_);
    SLUICE_CHECK(store.ok());
    store_ = *std::move(store);
  }

 private:
  SqliteOptions options_;
  std::string directory_;
  std::unique_ptr<Store> store_;
};

}  // namespace sluice::controlplane::store
