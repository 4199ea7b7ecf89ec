#include "proxy/config/last_good.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>

#include "proxy/base/rng.h"

namespace sluice::config {
namespace {

namespace fs = std::filesystem;

Resource resource(Kind kind, std::string name, std::string version, std::string bytes = "bytes") {
  return {kind, std::move(name), std::move(version), std::move(bytes)};
}

class LastGoodTest : public ::testing::Test {
 protected:
  LastGoodTest() : dir((fs::path(::testing::TempDir()) / "last-good-XXXXXX").string()) {
    EXPECT_NE(::mkdtemp(dir.data()), nullptr);
  }
  ~LastGoodTest() override { fs::remove_all(dir); }

  std::unique_ptr<LastGood> open() {
    auto opened = LastGood::open(dir);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? *std::move(opened) : nullptr;
  }

  std::string dir;
};

TEST_F(LastGoodTest, GivesBackWhatWasSavedAfterAReopen) {
  const std::string binary("\0\xff\n", 3);
  {
    auto store = open();
    EXPECT_TRUE(store->load()->config.empty());
    ASSERT_TRUE(store
                    ->save({{resource(Kind::kApi, "a", "7", binary),
                             resource(Kind::kSecret, "s", "1"), resource(Kind::kPlan, "p", "", ""),
                             resource(Kind::kToken, "t", "3"), resource(Kind::kGrants, "g", "4")},
                            {}})
                    .ok());
    ASSERT_TRUE(store
                    ->save({{resource(Kind::kSecret, "s", "2")},
                            {{Kind::kPlan, "p"}, {Kind::kPlan, "none"}}})
                    .ok());
    ASSERT_TRUE(store->save({}).ok());
  }
  const auto content = open()->load();
  ASSERT_TRUE(content.ok()) << content.status();
  ASSERT_EQ(content->config.upserts.size(), 2u);
  EXPECT_EQ(content->config.upserts[0].kind, Kind::kSecret);
  EXPECT_EQ(content->config.upserts[0].version, "2");
  EXPECT_EQ(content->config.upserts[1].name, "a");
  EXPECT_EQ(content->config.upserts[1].bytes, binary);
  EXPECT_EQ(content->identities.upserts.size(), 2u);
}

TEST_F(LastGoodTest, IsReadableByItsOwnerOnly) {
  auto store = open();
  struct stat info {};
  ASSERT_EQ(::stat(store->path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(LastGoodTest, SetsADamagedFileAsideAndStartsAnew) {
  {
    auto store = open();
    Delta many;
    for (int i = 0; i < 2000; ++i) {
      many.upserts.push_back(
          resource(Kind::kApi, "a" + std::to_string(i), "1", std::string(99, 'x')));
    }
    ASSERT_TRUE(store->save(many).ok());
  }
  const std::string path = dir + "/last-good.db";
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);
    for (int i = 0; i < 20'000; ++i) {
      file.put('\x55');
    }
  }
  {
    auto store = open();
    ASSERT_NE(store, nullptr);
    EXPECT_TRUE(fs::exists(path + ".damaged"));
    EXPECT_TRUE(store->load()->config.empty());
    EXPECT_TRUE(store->save({{resource(Kind::kApi, "a", "1")}, {}}).ok());
  }
  std::ofstream(path, std::ios::trunc) << "this is no database at all, but long enough to be read";
  auto store = open();
  ASSERT_NE(store, nullptr);
  EXPECT_TRUE(store->load()->config.empty());
}

TEST_F(LastGoodTest, SaysWhereItCannotBe) {
  const auto nowhere = LastGood::open(dir + "/none");
  EXPECT_TRUE(absl::IsUnavailable(nowhere.status()));
  EXPECT_NE(std::string(nowhere.status().message()).find(dir), std::string::npos);
  auto mine = open();
  const auto second = LastGood::open(dir);
  EXPECT_TRUE(absl::IsUnavailable(second.status())) << "two proxies must not share it";
  EXPECT_FALSE(fs::exists(dir + "/last-good.db.damaged"));
}

// A process that is killed at any moment leaves whole saves: every save writes one version to all.
TEST_F(LastGoodTest, LeavesWholeSavesWhenKilled) {
  Rng rng(5);
  for (int round = 0; round < 5; ++round) {
    int saved[2];
    ASSERT_EQ(::pipe(saved), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto store = LastGood::open(dir);
      for (int version = 0; store.ok(); ++version) {
        Delta delta;
        for (int i = 0; i < 50; ++i) {
          delta.upserts.push_back(
              resource(Kind::kApi, "a" + std::to_string(i), std::to_string(version)));
        }
        if (!(*store)->save(delta).ok() || ::write(saved[1], "x", 1) != 1) {
          break;
        }
      }
      ::_exit(1);
    }
    ::close(saved[1]);
    char one_save = 0;
    for (std::uint64_t saves = 1 + rng.below(40); saves > 0; --saves) {
      ASSERT_EQ(::read(saved[0], &one_save, 1), 1);
    }
    ::kill(child, SIGKILL);
    ::close(saved[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
    const auto content = open()->load();
    ASSERT_TRUE(content.ok()) << content.status();
    std::map<std::string, int> versions;
    for (const Resource& one : content->config.upserts) {
      ++versions[one.version];
    }
    EXPECT_EQ(versions.size(), 1u);
    for (const auto& [version, count] : versions) {
      EXPECT_EQ(count, 50) << version;
    }
  }
  EXPECT_FALSE(fs::exists(dir + "/last-good.db.damaged"));
}

}  // namespace
}  // namespace sluice::config
