#include "proxy/config/directory.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>
#include <thread>

#include "proxy/base/rng.h"

namespace sluice::config {
namespace {

using model::Subject;

Sha256 hash_of(int i) { return sha256(std::to_string(i)); }

model::Token token(int i, std::string application = "app") {
  model::Token made;
  made.hash = hash_of(i);
  made.application = std::move(application);
  return made;
}

std::shared_ptr<const model::Grants> grants(std::string name, std::string plan = "Unlimited") {
  auto made = std::make_shared<model::Grants>();
  made->application.name = std::move(name);
  made->application.plan = std::move(plan);
  made->subscriptions = {{made->application.name, "echo", "Gold", {}}};
  return made;
}

TEST(Directory, KnowsNothingBeforeItHears) {
  Directory directory;
  EXPECT_FALSE(directory.find(hash_of(1)).has_value());
  EXPECT_FALSE(directory.find_token(hash_of(1)).has_value());
  EXPECT_FALSE(directory.find_grants("app").has_value());
}

TEST(Directory, GivesATokenWhenItsApplicationIsKnownToo) {
  Directory directory;
  model::Token given = token(1);
  given.key_type = model::KeyType::kSandbox;
  given.expires = wall_from_ms(1'234'567);
  given.scopes = {"a", "b"};
  given.credential = "app:SANDBOX";
  given.user = "ann";
  given.revoked = true;
  EXPECT_TRUE(directory.put_token(given));
  EXPECT_FALSE(directory.find(given.hash).has_value());
  ASSERT_TRUE(directory.find_token(given.hash).has_value());
  EXPECT_TRUE(directory.put_grants(grants("app")));
  const auto found = directory.find(given.hash);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->token->hash, given.hash);
  EXPECT_EQ(found->token->application, "app");
  EXPECT_EQ(found->token->key_type, model::KeyType::kSandbox);
  EXPECT_EQ(found->token->expires, given.expires);
  EXPECT_EQ(found->token->scopes, given.scopes);
  EXPECT_EQ(found->token->credential, given.credential);
  EXPECT_EQ(found->token->user, given.user);
  EXPECT_TRUE(found->token->revoked);
  EXPECT_EQ(found->grants->subscriptions[0].plan, "Gold");
}

TEST(Directory, TellsAbsenceOfATokenAndOfAnApplication) {
  Directory directory;
  EXPECT_TRUE(directory.put_absent(hash_of(1)));
  EXPECT_FALSE(directory.put_absent(hash_of(1)));
  auto found = directory.find(hash_of(1));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->token, nullptr);
  EXPECT_EQ(directory.size().absent, 1u);
  EXPECT_TRUE(directory.put_token(token(1)));
  EXPECT_EQ(directory.size().absent, 0u);
  EXPECT_TRUE(directory.put_no_grants("app"));
  found = directory.find(hash_of(1));
  ASSERT_TRUE(found.has_value());
  EXPECT_NE(found->token, nullptr);
  EXPECT_EQ(found->grants, nullptr);
  EXPECT_TRUE(directory.put_absent(hash_of(1)));
  EXPECT_EQ(directory.find(hash_of(1))->token, nullptr);
}

TEST(Directory, TellsWhetherAnythingChanged) {
  Directory directory;
  EXPECT_TRUE(directory.put_token(token(1)));
  EXPECT_FALSE(directory.put_token(token(1)));
  model::Token other = token(1);
  other.user = "ann";
  EXPECT_TRUE(directory.put_token(other));
  EXPECT_FALSE(directory.put_token(other));
  EXPECT_TRUE(directory.put_token(token(1, "other")));
  EXPECT_TRUE(directory.put_grants(grants("app")));
  EXPECT_FALSE(directory.put_grants(grants("app")));
  EXPECT_TRUE(directory.put_grants(grants("app", "10PerMin")));
  EXPECT_TRUE(directory.put_no_grants("app"));
  EXPECT_FALSE(directory.put_no_grants("app"));
  EXPECT_TRUE(directory.forget_grants("app"));
  EXPECT_FALSE(directory.forget_grants("app"));
  EXPECT_TRUE(directory.forget_unpinned(hash_of(1)));
  EXPECT_FALSE(directory.find_token(hash_of(1)).has_value());
}

TEST(Directory, ForgetsTheLeastRecentlyUsedButNeverThePinned) {
  constexpr int kMax = 64 * 8;
  Directory directory(kMax);
  for (int i = 0; i < 20; ++i) {
    directory.put_token(token(i));
    EXPECT_TRUE(directory.pin(hash_of(i)));
  }
  for (int i = 100; i < 110; ++i) {
    directory.put_token(token(i));
  }
  directory.put_grants(grants("app"));
  for (int i = 1000; i < 10'000; ++i) {
    directory.put_token(token(i));
    for (int used = 100; used < 110; ++used) {
      EXPECT_TRUE(directory.find(hash_of(used)).has_value());
    }
  }
  EXPECT_LE(directory.size().tokens, static_cast<std::size_t>(kMax));
  EXPECT_GE(directory.size().tokens, static_cast<std::size_t>(kMax - 64));
  EXPECT_EQ(directory.size().pinned, 20u);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(directory.find(hash_of(i)).has_value()) << i;
  }
  EXPECT_FALSE(directory.find(hash_of(1000)).has_value());
  EXPECT_TRUE(directory.find(hash_of(9999)).has_value());
  const Directory::Evicted evicted = directory.take_evicted();
  EXPECT_EQ(evicted.tokens.size(), 9030u - directory.size().tokens);
  EXPECT_TRUE(directory.take_evicted().tokens.empty());
}

TEST(Directory, ForgetsOnPurposeOnlyWhatIsNotPinned) {
  Directory directory;
  EXPECT_TRUE(directory.forget_unpinned(hash_of(1)));
  directory.put_token(token(1));
  EXPECT_TRUE(directory.pin(hash_of(1)));
  directory.put_absent(hash_of(1));
  EXPECT_FALSE(directory.forget_unpinned(hash_of(1)));
  EXPECT_TRUE(directory.find(hash_of(1)).has_value());
  directory.unpin(hash_of(1));
  EXPECT_TRUE(directory.forget_unpinned(hash_of(1)));
  EXPECT_FALSE(directory.find(hash_of(1)).has_value());
}

TEST(Directory, GrowsForThePinnedAndShrinksAfterwards) {
  Directory directory(64);
  for (int i = 0; i < 1000; ++i) {
    directory.put_token(token(i));
    EXPECT_TRUE(directory.pin(hash_of(i)));
    EXPECT_TRUE(directory.pin(hash_of(i)));
  }
  EXPECT_EQ(directory.size().tokens, 1000u);
  for (int i = 0; i < 1000; ++i) {
    directory.unpin(hash_of(i));
  }
  EXPECT_EQ(directory.size().pinned, 1000u);
  for (int i = 0; i < 1000; ++i) {
    directory.unpin(hash_of(i));
  }
  EXPECT_EQ(directory.size().pinned, 0u);
  EXPECT_LE(directory.size().tokens, 64u);
  directory.unpin(hash_of(5000));
  EXPECT_FALSE(directory.pin(hash_of(5000)));
}

TEST(Directory, SaysWhichApplicationsLostTheirLastToken) {
  Directory directory;
  directory.put_token(token(1, "a"));
  directory.put_token(token(2, "a"));
  directory.put_token(token(3, "b"));
  directory.put_grants(grants("a"));
  EXPECT_TRUE(directory.application_used("a"));
  directory.forget_unpinned(hash_of(1));
  EXPECT_TRUE(directory.take_evicted().applications.empty());
  directory.forget_unpinned(hash_of(2));
  directory.forget_unpinned(hash_of(3));
  EXPECT_FALSE(directory.application_used("a"));
  directory.put_token(token(4, "b"));
  EXPECT_EQ(directory.take_evicted().applications, std::vector<std::string>{"a"});
  EXPECT_TRUE(directory.find_grants("a").has_value());
  EXPECT_TRUE(directory.forget_grants("a"));
  EXPECT_FALSE(directory.find_grants("a").has_value());
}

TEST(Directory, TakesOverAWholeSetAndSaysWhatChanged) {
  Directory directory(std::numeric_limits<std::size_t>::max());
  const auto set = [](std::vector<model::Token> tokens, std::vector<model::Grants> all) {
    return Identities{std::move(tokens), std::move(all)};
  };
  EXPECT_EQ(directory.assign(set({token(1), token(2)}, {*grants("app"), *grants("b")})).size(), 4u);
  EXPECT_TRUE(directory.assign(set({token(1), token(2)}, {*grants("app"), *grants("b")})).empty());
  model::Token revoked = token(2);
  revoked.revoked = true;
  const auto changed = directory.assign(set({revoked, token(3)}, {*grants("app", "10PerMin")}));
  std::vector<Subject> wanted = {{Subject::Kind::kApplication, "app"},
                                 {Subject::Kind::kApplication, "b"},
                                 {Subject::Kind::kToken, hex(hash_of(1))},
                                 {Subject::Kind::kToken, hex(hash_of(2))},
                                 {Subject::Kind::kToken, hex(hash_of(3))}};
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(changed, wanted);
  EXPECT_FALSE(directory.find(hash_of(1)).has_value());
  EXPECT_EQ(directory.size().applications, 1u);
}

TEST(Directory, TakesAtMost128BytesAToken) {
  Directory directory;
  constexpr int kTokens = 200'000;
  for (int i = 0; i < kTokens; ++i) {
    model::Token made = token(i, "application-" + std::to_string(i % 100));
    made.credential = made.application + ":PRODUCTION";
    directory.put_token(made);
  }
  const Directory::Size size = directory.size();
  std::printf("%zu bytes a token\n", size.token_bytes / size.tokens);
  EXPECT_EQ(size.tokens, static_cast<std::size_t>(kTokens));
  EXPECT_LE(size.token_bytes / size.tokens, 128u);
}

TEST(Directory, HoldsAgainstManyThreads) {
  Directory directory(640);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&directory, t] {
      Rng rng(static_cast<std::uint64_t>(t));
      for (int i = 0; i < 20'000; ++i) {
        const Sha256 hash = hash_of(static_cast<int>(rng.below(2000)));
        if (directory.pin(hash)) {
          const auto identity = directory.find(hash);
          EXPECT_TRUE(!identity || identity->token == nullptr || identity->token->hash == hash);
          directory.unpin(hash);
        }
      }
    });
  }
  Rng rng(99);
  for (int i = 0; i < 20'000; ++i) {
    const int n = static_cast<int>(rng.below(2000));
    switch (rng.below(5)) {
      case 0:
        directory.put_absent(hash_of(n));
        break;
      case 1:
        directory.forget_grants("app" + std::to_string(n % 7));
        break;
      case 2:
        directory.put_grants(grants("app" + std::to_string(n % 7)));
        break;
      default:
        directory.put_token(token(n, "app" + std::to_string(n % 7)));
    }
    if (i % 100 == 0) {
      (void)directory.take_evicted();
      (void)directory.size();
    }
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(directory.size().pinned, 0u);
  EXPECT_LE(directory.size().tokens, 640u);
}

// Against a plain map, single-threaded, without a bound.
TEST(Directory, AgreesWithAPlainMap) {
  Directory directory;
  Rng rng(7);
  std::map<int, model::Token> tokens;
  std::set<std::string> known;
  for (int i = 0; i < 20'000; ++i) {
    const int n = static_cast<int>(rng.below(300));
    const std::string app = "app" + std::to_string(rng.below(5));
    switch (rng.below(4)) {
      case 0:
        directory.forget_unpinned(hash_of(n));
        tokens.erase(n);
        break;
      case 1:
        known.count(app) > 0 ? directory.forget_grants(app) : directory.put_grants(grants(app));
        known.count(app) > 0 ? (void)known.erase(app) : (void)known.insert(app);
        break;
      default:
        tokens[n] = token(n, app);
        tokens[n].user = rng.below(2) == 0 ? "" : "user" + std::to_string(rng.below(9));
        directory.put_token(tokens[n]);
    }
    const auto found = directory.find_token(hash_of(n));
    ASSERT_EQ(found.has_value(), tokens.count(n) > 0);
    if (found) {
      ASSERT_EQ((*found)->user, tokens[n].user);
      ASSERT_EQ(directory.find(hash_of(n)).has_value(), known.count(tokens[n].application) > 0);
    }
  }
  EXPECT_EQ(directory.size().tokens, tokens.size());
  EXPECT_EQ(directory.size().applications, known.size());
}

}  // namespace
}  // namespace sluice::config
