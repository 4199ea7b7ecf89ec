#include "controlplane/store/resources.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "controlplane/store/test_store.h"
#include "proxy/base/encoding.h"

namespace sluice::controlplane::store {
namespace {

constexpr char kOrg[] = "default";

Write put(std::string kind, std::string name, std::string spec = "spec") {
  Write write;
  write.kind = std::move(kind);
  write.name = std::move(name);
  write.spec = std::move(spec);
  return write;
}

Write drop(std::string kind, std::string name) {
  Write write;
  write.kind = std::move(kind);
  write.name = std::move(name);
  return write;
}

std::string hash_of(std::string_view token) { return hex(sha256(token)); }

Write token(const std::string& text, const std::string& application, std::int64_t expires_s = 0) {
  config::v1::Token token;
  token.set_sha256(hash_of(text));
  token.set_application(application);
  if (expires_s != 0) {
    token.mutable_expires()->set_seconds(expires_s);
  }
  return put(kTokenKind, hash_of(text), token.SerializeAsString());
}

std::vector<std::string> names(const absl::StatusOr<std::vector<Row>>& rows) {
  std::vector<std::string> result;
  for (const Row& row : rows.value()) {
    result.push_back(row.name);
  }
  return result;
}

TEST(Store, GivesBackWhatWasCommitted) {
  TestStore store;
  Write write = put("Api", "echo", std::string("a\0b", 3));
  write.labels = Labels{{"owner", "x"}};
  ASSERT_EQ(store->commit(kOrg, {write}).value(), 1);
  const Row row = store->get(kOrg, "Api", "echo").value();
  EXPECT_EQ(row.kind, "Api");
  EXPECT_EQ(row.spec, std::string("a\0b", 3));
  EXPECT_EQ(row.labels, (Labels{{"owner", "x"}}));
  EXPECT_EQ(row.revision, 1);
  EXPECT_GT(row.create_ms, 0);
  EXPECT_TRUE(absl::IsNotFound(store->get("other", "Api", "echo").status()));
  EXPECT_TRUE(absl::IsNotFound(store->get(kOrg, "Plan", "echo").status()));
}

TEST(Store, KeepsLabelsThatAWriteLeavesOut) {
  TestStore store;
  Write write = put("Api", "echo");
  write.labels = Labels{{"owner", "x"}};
  ASSERT_TRUE(store->commit(kOrg, {write}).ok());
  ASSERT_TRUE(store->commit(kOrg, {put("Api", "echo", "new")}).ok());
  EXPECT_EQ(store->get(kOrg, "Api", "echo")->labels, (Labels{{"owner", "x"}}));
  EXPECT_EQ(store->get(kOrg, "Api", "echo")->spec, "new");
}

TEST(Store, CommitsAllOrNothing) {
  TestStore store;
  ASSERT_TRUE(
      absl::IsNotFound(store->commit(kOrg, {put("Api", "a"), drop("Api", "missing")}).status()));
  EXPECT_TRUE(absl::IsNotFound(store->get(kOrg, "Api", "a").status()));
  EXPECT_EQ(store->revision(kOrg), 0);
}

TEST(Store, RefusesAStaleRevision) {
  TestStore store;
  ASSERT_TRUE(store->commit(kOrg, {put("Api", "a")}).ok());
  Write create = put("Api", "a");
  create.expected_revision = 0;
  EXPECT_TRUE(absl::IsAlreadyExists(store->commit(kOrg, {create}).status()));
  Write update = put("Api", "a", "second");
  update.expected_revision = 1;
  EXPECT_TRUE(store->commit(kOrg, {update}).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(store->commit(kOrg, {update}).status()));
}

TEST(Store, ChecksWhatACommitRequires) {
  TestStore store;
  Commit commit;
  commit.writes = {token("t", "app")};
  commit.required = {{"Application", "app"}};
  EXPECT_TRUE(absl::IsFailedPrecondition(store->commit(kOrg, commit).status()));
  ASSERT_TRUE(store->commit(kOrg, {put("Application", "app")}).ok());
  EXPECT_TRUE(store->commit(kOrg, commit).ok());
}

TEST(Store, AbortsACommitThatReadOlderResourcesButNotForTokens) {
  TestStore store;
  ASSERT_TRUE(store->commit(kOrg, {put("Application", "app")}).ok());
  ASSERT_TRUE(store->commit(kOrg, {token("t", "app")}).ok());
  Commit commit;
  commit.writes = {put("Api", "a")};
  commit.unchanged_since = 1;
  EXPECT_EQ(store->commit(kOrg, commit).value(), 3);
  EXPECT_TRUE(absl::IsAborted(store->commit(kOrg, commit).status()));
}

TEST(Store, ListsByNamePrefixAndPage) {
  TestStore store;
  ASSERT_TRUE(store
                  ->commit(kOrg, {put("Subscription", "a:x"), put("Subscription", "a:y"),
                                  put("Subscription", "ab:x"), put("Subscription", "b:x")})
                  .ok());
  ListOptions options;
  options.prefix = "a:";
  EXPECT_EQ(names(store->list(kOrg, "Subscription", options)),
            (std::vector<std::string>{"a:x", "a:y"}));
  options = {};
  options.after = "a:y";
  options.limit = 1;
  EXPECT_EQ(names(store->list(kOrg, "Subscription", options)), std::vector<std::string>{"ab:x"});
  EXPECT_EQ(store->all(kOrg, "Subscription")->size(), 4U);
  EXPECT_EQ(store->count(kOrg, "Subscription").value(), 4);
}

TEST(Store, FindsACredentialByItsKeyAndKeepsKeysUnique) {
  TestStore store;
  config::v1::Credential credential;
  credential.set_consumer_key("key-1");
  ASSERT_TRUE(
      store->commit(kOrg, {put("Credential", "a:PRODUCTION", credential.SerializeAsString())})
          .ok());
  EXPECT_EQ(store->credential_by_key(kOrg, "key-1")->name, "a:PRODUCTION");
  EXPECT_TRUE(absl::IsNotFound(store->credential_by_key(kOrg, "key-2").status()));
  EXPECT_TRUE(absl::IsAlreadyExists(
      store->commit(kOrg, {put("Credential", "b:PRODUCTION", credential.SerializeAsString())})
          .status()));
  EXPECT_TRUE(store->writable().ok());
}

TEST(Tokens, AreFoundByHashApplicationAndPrefix) {
  TestStore store;
  ASSERT_TRUE(store->commit(kOrg, {token("1", "a"), token("2", "a"), token("3", "b")}).ok());
  EXPECT_EQ(store->get(kOrg, kTokenKind, hash_of("1"))->name, hash_of("1"));
  EXPECT_EQ(store->tokens_of(kOrg, "a")->size(), 2U);
  ListOptions options;
  options.prefix = hash_of("3").substr(0, 32);
  EXPECT_EQ(names(store->list(kOrg, kTokenKind, options)), std::vector<std::string>{hash_of("3")});
  EXPECT_EQ(store->count(kOrg, kTokenKind).value(), 3);
  options.prefix = "no hex";
  EXPECT_TRUE(absl::IsInvalidArgument(store->list(kOrg, kTokenKind, options).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(store->commit(kOrg, {put(kTokenKind, "short")}).status()));
}

TEST(Documents, AreWrittenWithACommitOrNotAtAll) {
  TestStore store;
  Commit commit;
  commit.writes = {put("User", "ann")};
  commit.documents = {{"passwords", "ann", "hash", 0}, {"passwords", "nobody", std::nullopt, 0}};
  ASSERT_EQ(store->commit(kOrg, commit).value(), 1);
  EXPECT_EQ(store->get_document(kOrg, "passwords", "ann")->blob, "hash");
  Commit refused = commit;
  refused.documents = {{"passwords", "ann", "other", 0}};
  refused.required = {{"User", "bob"}};
  EXPECT_FALSE(store->commit(kOrg, refused).ok());
  EXPECT_EQ(store->get_document(kOrg, "passwords", "ann")->blob, "hash");
  // Documents alone make no revision.
  ASSERT_TRUE(store->put_document(kOrg, "sessions", "1", "ann", 0).ok());
  ASSERT_TRUE(store->put_document(kOrg, "sessions", "2", "bob", 0).ok());
  Commit alone;
  alone.documents = {{"passwords", "ann", std::nullopt, 0}};
  alone.drop_documents = {{"sessions", "ann"}};
  EXPECT_EQ(store->commit(kOrg, alone).value(), 1);
  EXPECT_TRUE(absl::IsNotFound(store->get_document(kOrg, "passwords", "ann").status()));
  EXPECT_EQ(store->list_documents(kOrg, "sessions")->size(), 1U);
}

config::v1::Token token_at(TestStore& store, const std::string& seed) {
  config::v1::Token token;
  token.ParseFromString(store->get(kOrg, kTokenKind, hash_of(seed)).value().spec);
  return token;
}

TEST(Tokens, StayWhenTheirApplicationGoesAndThoseThatNeverExpireGetAnEnd) {
  SqliteOptions options;
  options.now = [] { return wall_from_ms(1'000'000'000); };
  TestStore store(options);
  ASSERT_TRUE(store
                  ->commit(kOrg, {put("Application", "a"), token("1", "a", 2'000'000),
                                  token("2", "a"), token("3", "b")})
                  .ok());
  Commit commit;
  commit.writes = {drop("Application", "a")};
  commit.end_tokens = {{"a", "", false}};
  ASSERT_EQ(store->commit(kOrg, commit).value(), 2);
  EXPECT_FALSE(token_at(store, "1").revoked());
  EXPECT_EQ(token_at(store, "1").expires().seconds(), 2'000'000);
  EXPECT_FALSE(token_at(store, "2").revoked());
  EXPECT_EQ(token_at(store, "2").expires().seconds(), 1'000'000 + 30 * 24 * 3600);
  EXPECT_FALSE(token_at(store, "3").has_expires());
  const std::vector<Change> changes = store->changes(kOrg, 1, 10).value();
  ASSERT_EQ(changes.size(), 2U);  // the application, and the token that was given an end
}

TEST(Tokens, AreRevokedByApplicationOrByCredential) {
  TestStore store;
  Write of_key = token("1", "a");
  config::v1::Token spec;
  spec.ParseFromString(*of_key.spec);
  spec.set_credential("a:SANDBOX");
  of_key.spec = spec.SerializeAsString();
  ASSERT_TRUE(store->commit(kOrg, {of_key, token("2", "a"), token("3", "b")}).ok());
  Commit commit;
  commit.end_tokens = {{"a", "a:SANDBOX"}};
  ASSERT_EQ(store->commit(kOrg, commit).value(), 2);
  EXPECT_TRUE(token_at(store, "1").revoked());
  EXPECT_FALSE(token_at(store, "2").revoked());
  commit.end_tokens = {{"a"}};
  ASSERT_EQ(store->commit(kOrg, commit).value(), 3);
  EXPECT_TRUE(token_at(store, "2").revoked());
  EXPECT_FALSE(token_at(store, "3").revoked());
  EXPECT_EQ(store->commit(kOrg, commit).value(), 3) << "what is revoked already is no change";
}

TEST(Tokens, AreCollectedAnHourAfterTheyExpired) {
  const std::string path = "/control.db";
  auto now = std::make_shared<std::int64_t>(1'000'000'000);
  SqliteOptions options;
  options.now = [now] { return wall_from_ms(*now); };
  TestStore store(options);
  ASSERT_TRUE(store->commit(kOrg, {token("old", "a", 1'000'001), token("for ever", "a")}).ok());
  *now += 2 * 3'600'000;
  store.close();
  store.open();  // the first turn of a new writer collects
  ASSERT_TRUE(store->put_document(kOrg, "c", "k", "", 0).ok());
  ASSERT_TRUE(store->put_document(kOrg, "c", "k", "", 0).ok());
  EXPECT_EQ(store->count(kOrg, kTokenKind).value(), 1);
}

TEST(Feed, GivesEachRowOnceWithItsLastChange) {
  TestStore store;
  ASSERT_TRUE(store->commit(kOrg, {put("Api", "a"), put("Api", "b")}).ok());
  ASSERT_TRUE(store->commit(kOrg, {put("Api", "a", "2")}).ok());
  ASSERT_TRUE(store->commit(kOrg, {drop("Api", "b"), token("t", "app")}).ok());
  const std::vector<Change> changes = store->changes(kOrg, 0, 100).value();
  ASSERT_EQ(changes.size(), 3U);
  EXPECT_EQ(changes[0].name, "a");
  EXPECT_EQ(changes[0].revision, 2);
  EXPECT_FALSE(changes[0].deleted);
  EXPECT_EQ(changes[1].revision, 3);
  EXPECT_EQ(changes[2].revision, 3);
  EXPECT_EQ(store->changes(kOrg, 0, 100, FeedPart::kResources)->size(), 2U);
  EXPECT_TRUE(store->changes(kOrg, 3, 100)->empty());
  // Made again, it is no longer among the deleted.
  ASSERT_TRUE(store->commit(kOrg, {put("Api", "b")}).ok());
  ASSERT_EQ(store->changes(kOrg, 3, 100)->size(), 1U);
  EXPECT_FALSE(store->changes(kOrg, 3, 100)->front().deleted);
}

TEST(Feed, NeverSplitsARevision) {
  TestStore store;
  ASSERT_TRUE(store->commit(kOrg, {put("Api", "a")}).ok());
  ASSERT_TRUE(store->commit(kOrg, {put("Api", "b"), put("Api", "c"), put("Api", "d")}).ok());
  EXPECT_EQ(store->changes(kOrg, 0, 1)->size(), 1U);
  EXPECT_EQ(store->changes(kOrg, 0, 2)->size(), 4U);
  EXPECT_EQ(store->changes(kOrg, 1, 1)->size(), 3U);
}

TEST(Feed, SaysWhenDeletionsAreForgotten) {
  SqliteOptions options;
  options.tombstones_max = 10;
  TestStore store(options);
  std::vector<Write> make, unmake;
  for (int i = 0; i < 30; ++i) {
    make.push_back(put("Api", fmt::format("a{}", i)));
  }
  ASSERT_TRUE(store->commit(kOrg, make).ok());
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(store->commit(kOrg, {drop("Api", fmt::format("a{}", i))}).ok());
  }
  store.close();
  store.open();
  ASSERT_TRUE(store->put_document(kOrg, "c", "k", "", 0).ok());
  ASSERT_TRUE(store->put_document(kOrg, "c", "k", "", 0).ok());
  EXPECT_TRUE(absl::IsOutOfRange(store->changes(kOrg, 1, 10).status()));
  EXPECT_EQ(store->changes(kOrg, 22, 100)->size(), 9U);
}

TEST(Feed, CallsSubscribersBeforeACommitReturns) {
  TestStore store;
  std::int64_t seen = 0;
  {
    const FeedHandle handle =
        store->subscribe(kOrg, [&](std::int64_t revision) { seen = revision; });
    ASSERT_EQ(store->commit(kOrg, {put("Api", "a")}).value(), 1);
    EXPECT_EQ(seen, 1);
    ASSERT_TRUE(store->commit("other", {put("Api", "a")}).ok());
    EXPECT_EQ(seen, 1);
  }
  ASSERT_TRUE(store->commit(kOrg, {put("Api", "b")}).ok());
  EXPECT_EQ(seen, 1);
}

TEST(Documents, ExpireAndAreReplaced) {
  auto now = std::make_shared<std::int64_t>(1'000'000'000);
  SqliteOptions options;
  options.now = [now] { return wall_from_ms(*now); };
  TestStore store(options);
  ASSERT_TRUE(store->put_document(kOrg, "session", "k", "one", *now + 1000).ok());
  ASSERT_TRUE(store->put_document(kOrg, "session", "k", "two", *now + 1000).ok());
  ASSERT_TRUE(store->put_document(kOrg, "session", "l", "three", 0).ok());
  EXPECT_EQ(store->get_document(kOrg, "session", "k")->blob, "two");
  EXPECT_EQ(store->list_documents(kOrg, "session")->size(), 2U);
  *now += 1000;
  EXPECT_TRUE(absl::IsNotFound(store->get_document(kOrg, "session", "k").status()));
  EXPECT_EQ(store->list_documents(kOrg, "session")->size(), 1U);
  EXPECT_TRUE(store->delete_document(kOrg, "session", "l").ok());
  EXPECT_TRUE(absl::IsNotFound(store->delete_document(kOrg, "session", "l")));
}

}  // namespace
}  // namespace sluice::controlplane::store
