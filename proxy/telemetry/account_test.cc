#include "proxy/telemetry/account.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "proxy/telemetry/test_support.h"

namespace sluice::telemetry {
namespace {

using PartKind = AccountTable::PartKind;

constexpr Wall kNow{seconds(1'700'000'100)};

class AccountTest : public testing::Test {
 protected:
  AccountTest() { reopen(0); }
  // As a successor does, after kill -9 (nothing is written at the end of a process).
  void reopen(std::uint64_t last_sequence, std::size_t slots = 4) {
    table.reset();
    auto opened = AccountTable::open_file(dir / "accounts", slots, last_sequence);
    ASSERT_TRUE(opened.ok()) << message_of(opened.status());
    table = *std::move(opened);
  }
  static void count(Account* account, std::uint64_t messages) {
    Account::add(account->messages_up, messages);
    Account::add(account->bytes_up, messages * 10);
    Account::add(account->messages_down, messages * 2);
    Account::add(account->bytes_down, messages * 20);
    Account::add(account->throttled_up, 1);
  }
  static Ending ending() {
    Ending e;
    e.status = 101;
    e.close_code = 4001;
    e.close_side = CloseSide::kProxy;
    e.reason = "access token revoked";
    return e;
  }

  TempDir dir;
  std::unique_ptr<AccountTable> table;
};

TEST_F(AccountTest, MakesPartsWhoseSumIsTheWhole) {
  Account* account = table->open(sample_facts());
  ASSERT_NE(account, nullptr);
  EXPECT_TRUE(table->moved().empty());
  count(account, 3);
  ASSERT_EQ(table->moved().size(), 1u);
  const std::uint32_t slot = table->moved()[0];
  const Record first = table->part(slot, 1, PartKind::kInterim, kNow);
  EXPECT_EQ(first.part, Part::kInterim);
  EXPECT_EQ(first.counts, (Counts{3, 6, 30, 60, 1, 0}));
  EXPECT_EQ(first.status, 101);
  EXPECT_EQ(first.end, kNow);
  expect_same(first.facts, sample_facts());
  count(account, 1);  // while the first part is being written
  table->settle(slot);
  const Record second = table->part(slot, 2, PartKind::kInterim, kNow);
  EXPECT_EQ(second.counts, (Counts{1, 2, 10, 20, 1, 0}));
  table->forget_part(slot);
  count(account, 1);
  table->close(account, ending(), kNow);
  EXPECT_TRUE(table->moved().empty());
  EXPECT_EQ(table->take_ended(), std::vector<std::uint32_t>{slot});
  const Record last = table->part(slot, 2, PartKind::kLast, kNow + seconds(5));
  EXPECT_EQ(last.part, Part::kFinal);
  EXPECT_EQ(last.counts, (Counts{2, 4, 20, 40, 2, 0}));
  EXPECT_EQ(last.close_code, 4001);
  EXPECT_EQ(last.close_side, CloseSide::kProxy);
  EXPECT_EQ(last.reason, "access token revoked");
  EXPECT_EQ(last.end, kNow);
  EXPECT_EQ(table->live(), 1u);
  table->settle(slot);
  EXPECT_EQ(table->live(), 0u);
}

TEST_F(AccountTest, GivesOutEachSlotOnceAndCountsWhenNoneIsFree) {
  std::vector<Account*> accounts;
  for (int i = 0; i < 4; ++i) {
    accounts.push_back(table->open(sample_facts(std::to_string(i))));
    ASSERT_NE(accounts.back(), nullptr);
  }
  EXPECT_EQ(table->open(sample_facts()), nullptr);
  EXPECT_EQ(table->exhausted(), 1u);
  count(accounts[2], 5);
  table->close(accounts[2], ending(), kNow);
  table->close(accounts[0], ending(), kNow);
  EXPECT_EQ(table->open(sample_facts()), nullptr);  // not settled yet
  const std::vector<std::uint32_t> ended = table->take_ended();
  ASSERT_EQ(ended.size(), 2u);
  EXPECT_EQ(table->part(ended[0], 1, PartKind::kLast, kNow).facts.connection_id, "2");
  table->settle(ended[0]);
  table->give_up(ended[1]);
  Account* fresh = table->open(sample_facts("new"));
  ASSERT_NE(fresh, nullptr);
  EXPECT_EQ(fresh->counts(), Counts{});
  EXPECT_NE(table->open(sample_facts()), nullptr);
}

TEST_F(AccountTest, RecoversWhatAnEarlierProcessLeftLive) {
  Account* account = table->open(sample_facts());
  count(account, 3);
  table->heartbeat(kNow);
  reopen(0);
  EXPECT_TRUE(table->moved().empty());
  const auto ended = table->take_ended();
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_TRUE(table->take_ended().empty());
  EXPECT_TRUE(table->moved().empty());  // although it looks live and uncounted
  table->heartbeat(kNow + seconds(60));
  const Record record = table->part(ended[0], 1, PartKind::kLast, kNow + seconds(60));
  EXPECT_EQ(record.part, Part::kRecovered);
  EXPECT_EQ(record.counts, (Counts{3, 6, 30, 60, 1, 0}));
  EXPECT_EQ(record.end, kNow);
  EXPECT_FALSE(record.reason.empty());
  expect_same(record.facts, sample_facts());
  // Killed again before it was settled, it is still a recovered one.
  reopen(0);
  const auto again = table->take_ended();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(table->part(again[0], 1, PartKind::kLast, kNow).part, Part::kRecovered);
  table->settle(again[0]);
  reopen(1);
  EXPECT_TRUE(table->take_ended().empty());
  EXPECT_EQ(table->live(), 0u);
}

TEST_F(AccountTest, RecoversAnEndedExchangeAsFinal) {
  Account* account = table->open(sample_facts());
  count(account, 3);
  table->close(account, ending(), kNow);
  reopen(0);
  const auto ended = table->take_ended();
  ASSERT_EQ(ended.size(), 1u);
  const Record record = table->part(ended[0], 1, PartKind::kLast, kNow + seconds(60));
  EXPECT_EQ(record.part, Part::kFinal);
  EXPECT_EQ(record.close_code, 4001);
  EXPECT_EQ(record.end, kNow);
}

TEST_F(AccountTest, TellsByTheSequenceWhetherAPartUnderWayCounts) {
  Account* account = table->open(sample_facts());
  count(account, 3);
  const std::uint32_t slot = table->moved()[0];
  table->part(slot, 7, PartKind::kInterim, kNow);
  count(account, 1);
  // Killed after the note. The sink ends before it:
  reopen(6);
  auto ended = table->take_ended();
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(table->part(ended[0], 7, PartKind::kInterim, kNow).counts.messages_up, 4u);
  // The sink holds it, and the successor is killed before it settles.
  reopen(7);
  ended = table->take_ended();
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(table->part(ended[0], 8, PartKind::kLast, kNow).counts, Counts{});
  // The same with the last part.
  reopen(8);
  EXPECT_TRUE(table->take_ended().empty());
  EXPECT_EQ(table->live(), 0u);
  EXPECT_NE(table->open(sample_facts()), nullptr);
}

TEST_F(AccountTest, CutsTextsThatDoNotFit) {
  Facts facts = sample_facts();
  const std::string name(63, 'n');
  facts.listener = facts.api = facts.application = facts.plan = facts.user = name;
  facts.topic.assign(900, 't');
  facts.endpoint.assign(900, 'e');
  facts.user_agent.assign(900, 'u');
  Account* account = table->open(facts);
  count(account, 1);
  const Record record = table->part(table->moved()[0], 1, PartKind::kInterim, kNow);
  EXPECT_EQ(record.facts.user, name);
  EXPECT_EQ(record.facts.client_address, facts.client_address);
  EXPECT_LT(record.facts.topic.size(), 256u);
  EXPECT_EQ(record.facts.topic, facts.topic.substr(0, record.facts.topic.size()));
  Ending e = ending();
  e.reason.assign(500, 'r');
  table->close(account, e, kNow);
  EXPECT_EQ(table->part(table->take_ended()[0], 1, PartKind::kLast, kNow).reason,
            std::string(64, 'r'));
}

TEST_F(AccountTest, GrowsAndNeverShrinks) {
  for (int i = 0; i < 4; ++i) {
    count(table->open(sample_facts(std::to_string(i))), 1);
  }
  reopen(0, 8);
  EXPECT_EQ(table->slots_max(), 8u);
  EXPECT_EQ(table->take_ended().size(), 4u);
  reopen(0, 2);
  EXPECT_EQ(table->slots_max(), 8u);
  EXPECT_EQ(table->take_ended().size(), 4u);
}

TEST_F(AccountTest, RefusesAFileInUseOrOfAnotherLayout) {
  auto second = AccountTable::open_file(dir / "accounts", 4, 0);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(message_of(second.status()).find("in use by another process"), std::string_view::npos);
  std::ofstream(dir / "other") << std::string(5000, 'x');
  second = AccountTable::open_file(dir / "other", 4, 0);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(message_of(second.status()).find(dir / "other"), std::string_view::npos);
}

TEST_F(AccountTest, WorksWithoutAFile) {
  auto memory = AccountTable::open_file("", 2, 0);
  ASSERT_TRUE(memory.ok());
  EXPECT_NE((*memory)->open(sample_facts()), nullptr);
  EXPECT_TRUE((*memory)->take_ended().empty());
}

TEST_F(AccountTest, ServesManyThreads) {
  constexpr int kThreads = 3;
  constexpr int kExchanges = 2000;
  reopen(0, 64);
  std::atomic<int> running{kThreads};
  std::atomic<int> opened{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kExchanges; ++i) {
        Account* account = table->open(sample_facts());
        if (account == nullptr) {
          continue;
        }
        opened.fetch_add(1);
        count(account, 1);
        table->close(account, ending(), kNow);
      }
      running.fetch_sub(1);
    });
  }
  std::uint64_t messages = 0;
  std::uint64_t sequence = 0;
  bool done = false;
  while (!done) {
    done = running.load() == 0;
    for (const std::uint32_t slot : table->moved()) {
      messages += table->part(slot, ++sequence, PartKind::kInterim, kNow).counts.messages_up;
      table->settle(slot);
    }
    for (const std::uint32_t slot : table->take_ended()) {
      messages += table->part(slot, ++sequence, PartKind::kLast, kNow).counts.messages_up;
      table->settle(slot);
    }
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(messages, static_cast<std::uint64_t>(opened.load()));
  EXPECT_EQ(table->live(), 0u);
}

}  // namespace
}  // namespace sluice::telemetry
