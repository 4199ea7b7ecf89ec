#include "controlplane/store/sqlite_store.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "controlplane/store/schema.h"
#include "controlplane/store/test_store.h"
#include "proxy/base/encoding.h"

namespace sluice::controlplane::store {
namespace {

constexpr char kOrg[] = "default";

Write put(std::string name, std::string spec) {
  Write write;
  write.kind = "Api";
  write.name = std::move(name);
  write.spec = std::move(spec);
  return write;
}

Write token(int number) {
  config::v1::Token token;
  token.set_sha256(hex(sha256(fmt::format("token-{}", number))));
  token.set_application("app");
  token.set_credential("app:PRODUCTION");
  token.mutable_expires()->set_seconds(4'000'000'000);
  Write write;
  write.kind = kTokenKind;
  write.name = token.sha256();
  write.spec = token.SerializeAsString();
  return write;
}

// In a process of its own, because of its limits and its death; false is failure.
bool in_child(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(body() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(SqliteStore, KeepsEverythingOverARestart) {
  TestStore store;
  ASSERT_TRUE(store->commit(kOrg, {put("a", "1")}).ok());
  ASSERT_TRUE(store->put_document(kOrg, "c", "k", "v", 0).ok());
  store.close();
  store.open();
  EXPECT_EQ(store->get(kOrg, "Api", "a")->spec, "1");
  EXPECT_EQ(store->revision(kOrg), 1);
  EXPECT_EQ(store->get_document(kOrg, "c", "k")->blob, "v");
  EXPECT_EQ(store->commit(kOrg, {put("a", "2")}).value(), 2);
}

TEST(SqliteStore, OpensInOneProcessOnly) {
  TestStore store;
  SqliteOptions options;
  options.path = store.path();
  const absl::Status status = open_sqlite(options).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_NE(message_of(status).find(store.directory()), std::string_view::npos);
}

TEST(SqliteStore, RefusesANewerSchemaAndADamagedFile) {
  TestStore store;
  store.close();
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(store.path().c_str(), &handle), SQLITE_OK);
  const std::string newer = fmt::format("PRAGMA user_version = {}", schema_version() + 1);
  ASSERT_EQ(sqlite3_exec(handle, newer.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(handle);
  SqliteOptions options;
  options.path = store.path();
  EXPECT_TRUE(absl::IsFailedPrecondition(open_sqlite(options).status()));
  std::FILE* file = std::fopen(store.path().c_str(), "w");
  std::fputs("this is certainly no database, but a text that is long enough", file);
  std::fclose(file);
  EXPECT_TRUE(absl::IsInternal(open_sqlite(options).status()));
  options.path = store.directory() + "/none/control.db";
  EXPECT_TRUE(absl::IsUnavailable(open_sqlite(options).status()));
}

TEST(SqliteStore, CommitsFromManyThreadsEachOnce) {
  TestStore store;
  constexpr int kThreads = 8;
  constexpr int kCommits = 100;
  std::atomic<int> refused = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < kCommits; ++n) {
        Write fresh = put(fmt::format("only-{}", n), "x");
        fresh.expected_revision = 0;  // one thread wins each name, without harm to its group
        refused += store->commit(kOrg, {fresh}).ok() ? 0 : 1;
        ASSERT_TRUE(store->commit(kOrg, {put(fmt::format("own-{}-{}", i, n), "x")}).ok());
        ASSERT_TRUE(store->get(kOrg, "Api", fmt::format("own-{}-{}", i, n)).ok());
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(refused, (kThreads - 1) * kCommits);
  EXPECT_EQ(store->count(kOrg, "Api").value(), kThreads * kCommits + kCommits);
  EXPECT_EQ(store->revision(kOrg), kThreads * kCommits + kCommits);
  EXPECT_EQ(store->changes(kOrg, 0, 100'000)->size(), std::size_t{kThreads * kCommits + kCommits});
}

TEST(SqliteStore, IssuesThousandsOfTokensASecond) {
  TestStore store;
  constexpr int kThreads = 16;
  constexpr int kTokens = 250;
  const Mono begin = system_mono();
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < kTokens; ++n) {
        ASSERT_TRUE(store->commit(kOrg, {token(i * kTokens + n)}).ok());
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const double took = std::chrono::duration<double>(system_mono() - begin).count();
  RecordProperty("tokens_per_second", static_cast<int>(kThreads * kTokens / took));
  EXPECT_EQ(store->count(kOrg, kTokenKind).value(), kThreads * kTokens);
}

// Two rows of one commit hold the same number; whatever was acknowledged before the kill is there.
TEST(SqliteStore, HasOldOrNewAfterAKill) {
  TestStore store;
  store.close();
  for (int round = 0; round < 5; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      SqliteOptions options;
      options.path = store.path();
      auto opened = open_sqlite(options);
      for (std::int64_t i = 1; opened.ok(); ++i) {
        const std::string number = std::to_string(i);
        if (!(*opened)->commit(kOrg, {put("left", number), put("right", number)}).ok() ||
            ::write(pipe_ends[1], &i, sizeof i) != sizeof i) {
          break;
        }
      }
      ::_exit(1);
    }
    std::int64_t acknowledged = 0;
    while (acknowledged < 20 + round * 7) {
      ASSERT_EQ(::read(pipe_ends[0], &acknowledged, sizeof acknowledged),
                static_cast<ssize_t>(sizeof acknowledged));
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);
    store.open();
    const std::string left = store->get(kOrg, "Api", "left")->spec;
    EXPECT_EQ(left, store->get(kOrg, "Api", "right")->spec);
    EXPECT_GE(std::stoll(left), acknowledged);
    store.close();
  }
}

// A limit on the size of files stands in for a full disk: writes fail in the same way.
TEST(SqliteStore, RefusesWritesOnAFullDiskReadsOnAndHeals) {
  TestStore store;
  ASSERT_TRUE(store->commit(kOrg, {put("first", "1")}).ok());
  store.close();
  EXPECT_TRUE(in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    store.open();
    const rlimit full{1024 * 1024, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &full);
    absl::Status status;
    int stored = 0;
    while (status.ok() && stored < 1000) {
      status =
          store->commit(kOrg, {put(fmt::format("n{}", stored), std::string(50'000, 'x'))}).status();
      stored += status.ok() ? 1 : 0;
    }
    bool good = absl::IsUnavailable(status) &&
                message_of(status).find(store.path()) != std::string_view::npos &&
                absl::IsUnavailable(store->writable()) && stored > 0 &&
                store->get(kOrg, "Api", "first").ok() &&
                store->count(kOrg, "Api").value() == stored + 1 &&
                store->revision(kOrg) == stored + 1;
    const rlimit free{RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &free);
    // Nobody writes: the store finds out by itself.
    for (int i = 0; i < 400 && !store->writable().ok(); ++i) {
      ::poll(nullptr, 0, 10);  // it tells nobody when it has found out
    }
    good = good && store->writable().ok();
    return good && store->commit(kOrg, {put("last", "1")}).value() == stored + 2;
  }));
}

}  // namespace
}  // namespace sluice::controlplane::store
