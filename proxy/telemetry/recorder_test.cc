#include "proxy/telemetry/recorder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>

#include "proxy/base/rng.h"
#include "proxy/telemetry/spool.h"
#include "proxy/telemetry/test_support.h"

namespace sluice::telemetry {
namespace {

constexpr Wall kNow{seconds(1'700'000'100)};

// Takes so many records of each batch; negative: all.
class FakeSink final : public RecordSink {
 public:
  std::uint64_t epoch() const override { return 9; }
  std::uint64_t last_sequence() const override { return records.size(); }
  Taken append(const std::vector<Record>& batch) override {
    std::size_t count = batch.size();
    if (room >= 0 && static_cast<std::size_t>(room) < count) {
      count = static_cast<std::size_t>(room);
    }
    records.insert(records.end(), batch.begin(),
                   batch.begin() + static_cast<std::ptrdiff_t>(count));
    room -= room >= 0 ? static_cast<int>(count) : 0;
    return {count, count == batch.size() ? absl::OkStatus() : unavailable("disk full")};
  }
  std::uint64_t next_sequence() const override { return records.size() + 1; }
  void count_dropped(std::uint64_t count) override { dropped_ += count; }
  std::uint64_t dropped() const override { return dropped_; }

  int room = -1;
  std::vector<Record> records;

 private:
  std::uint64_t dropped_ = 0;
};

class RecorderTest : public testing::Test {
 protected:
  RecorderTest() : table(*AccountTable::open_file("", 8, 0)), recorder(*table, sink) {}

  Account* open(const std::string& id = "id-1") { return table->open(sample_facts(id)); }
  static void count(Account* account) { Account::add(account->messages_up, 1); }
  std::uint64_t messages() const {
    std::uint64_t sum = 0;
    for (const Record& record : sink.records) {
      sum += record.counts.messages_up;
    }
    return sum;
  }
  Part last_part() const { return sink.records.back().part; }

  FakeSink sink;
  std::unique_ptr<AccountTable> table;
  Recorder recorder;
};

TEST_F(RecorderTest, WritesRefusalsAtOnce) {
  recorder.emit(sample_record("a"));
  recorder.emit(sample_record("b"));
  EXPECT_EQ(recorder.turn(kNow), 2u);
  ASSERT_EQ(sink.records.size(), 2u);
  EXPECT_EQ(sink.records[0].facts.connection_id, "a");
  EXPECT_EQ(sink.records[1].facts.connection_id, "b");
  EXPECT_EQ(recorder.turn(kNow), 0u);
}

TEST_F(RecorderTest, WritesInterimPartsOfWhatMovedEverySoOften) {
  Account* a = open("a");
  open("idle");
  EXPECT_EQ(recorder.turn(kNow), 0u);
  count(a);
  EXPECT_EQ(recorder.turn(kNow + seconds(1)), 0u);
  EXPECT_EQ(recorder.turn(kNow + seconds(5)), 1u);
  EXPECT_EQ(last_part(), Part::kInterim);
  EXPECT_EQ(recorder.turn(kNow + seconds(10)), 0u);
  count(a);
  EXPECT_EQ(recorder.turn(kNow + seconds(15)), 1u);
  count(a);
  // The clock has gone back an hour.
  EXPECT_EQ(recorder.turn(kNow - seconds(3600)), 1u);
  EXPECT_EQ(messages(), 3u);
}

TEST_F(RecorderTest, WritesTheLastPartWhenAnExchangeEnds) {
  Account* a = open();
  count(a);
  recorder.turn(kNow);
  count(a);
  count(a);
  table->close(a, {}, kNow);
  EXPECT_EQ(recorder.turn(kNow), 1u);
  EXPECT_EQ(last_part(), Part::kFinal);
  EXPECT_EQ(messages(), 3u);
  EXPECT_EQ(table->live(), 0u);
}

TEST_F(RecorderTest, LosesNothingWhileTheSinkIsFull) {
  Account* a = open("a");
  Account* b = open("b");
  count(a);
  count(b);
  sink.room = 1;
  table->close(a, {}, kNow);
  recorder.emit(sample_record("refused"));
  EXPECT_EQ(recorder.turn(kNow), 1u);  // one of the two
  EXPECT_FALSE(recorder.health().ok());
  count(b);
  EXPECT_EQ(recorder.turn(kNow + seconds(60)), 0u);
  sink.room = -1;
  recorder.turn(kNow + seconds(120));
  EXPECT_TRUE(recorder.health().ok());
  EXPECT_EQ(messages(), 3u);
  ASSERT_EQ(sink.records.size(), 3u);
  EXPECT_EQ(last_part(), Part::kInterim);
  EXPECT_EQ(sink.dropped(), 0u);
}

TEST_F(RecorderTest, DropsTheOldestBeyondTheBoundAndCountsThem) {
  sink.room = 0;
  Account* a = open("a");
  table->close(a, {}, kNow);
  recorder.turn(kNow);
  for (int i = 0; i < 10; ++i) {
    recorder.emit(sample_record(std::to_string(i)));
  }
  recorder.turn(kNow);
  EXPECT_EQ(sink.dropped(), 6u);  // half the slots and one may wait
  EXPECT_EQ(table->live(), 0u);
  sink.room = -1;
  EXPECT_EQ(recorder.turn(kNow), 5u);
  EXPECT_EQ(sink.records[0].facts.connection_id, "5");
}

// ---- kill -9 at any moment

constexpr int kAccounts = 6;

// What the child did, in memory that outlives it.
struct Ledger {
  std::atomic<std::uint64_t> begun[kAccounts];  // messages: the counter may not have it yet
  std::atomic<std::uint64_t> done[kAccounts];
  std::atomic<std::uint64_t> opened;
  std::atomic<std::uint64_t> refused;
  std::atomic<std::uint64_t> steps;
};

struct Parts {
  std::unique_ptr<Spool> spool;
  std::unique_ptr<AccountTable> table;
};

Parts start(const TempDir& dir) {
  Parts parts;
  Spool::Options options;
  options.directory = dir / "spool";
  options.segment_bytes = 4000;
  parts.spool = *Spool::open(options);
  parts.table = *AccountTable::open_file(dir / "accounts", 16, parts.spool->last_sequence());
  return parts;
}

// Opens, counts, closes, records and acknowledges without end.
[[noreturn]] void run_child(const TempDir& dir, Ledger& ledger, std::uint64_t seed) {
  Parts parts = start(dir);
  Recorder recorder(*parts.table, *parts.spool);
  Rng rng(seed);
  Account* accounts[kAccounts] = {};
  Wall now = kNow;
  while (true) {
    const auto i = static_cast<std::size_t>(rng.below(kAccounts));
    if (accounts[i] == nullptr) {
      accounts[i] = parts.table->open(sample_facts(std::to_string(i)));
      ledger.opened.fetch_add(accounts[i] == nullptr ? 0 : 1);
    } else if (rng.below(8) == 0) {
      parts.table->close(accounts[i], {}, now);
      accounts[i] = nullptr;
    } else {
      ledger.begun[i].fetch_add(1);
      Account::add(accounts[i]->messages_up, 1);
      ledger.done[i].fetch_add(1);
    }
    if (rng.below(4) == 0) {
      now += seconds(rng.below(3));
      recorder.turn(now);
    }
    ledger.steps.fetch_add(1);
  }
}

TEST(Recorder, CountsEachMessageOnceWhateverMomentItIsKilledAt) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    TempDir dir;
    void* memory =
        ::mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    auto& ledger = *new (memory) Ledger{};
    Rng rng(seed);
    constexpr int kLives = 3;
    for (int life = 0; life < kLives; ++life) {
      const std::uint64_t until = ledger.steps.load() + 20 + rng.below(400);
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        run_child(dir, ledger, seed * 100 + static_cast<std::uint64_t>(life));
      }
      while (ledger.steps.load() < until) {
        ::sched_yield();
      }
      ::kill(child, SIGKILL);
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status));
    }
    Parts parts = start(dir);
    Recorder recorder(*parts.table, *parts.spool);
    recorder.turn(kNow);
    EXPECT_EQ(parts.table->live(), 0u);
    std::map<std::string, std::uint64_t> messages;
    std::uint64_t ends = 0;
    std::uint64_t after = 0;
    for (auto batch = parts.spool->read(after, 100); !batch.empty();
         batch = parts.spool->read(after, 100)) {
      for (const NumberedRecord& record : batch) {
        EXPECT_EQ(record.sequence, after + 1);
        EXPECT_EQ(record.dropped_before, 0u);
        after = record.sequence;
        messages[record.record.facts.connection_id] += record.record.counts.messages_up;
        ends += record.record.part == Part::kInterim ? 0 : 1;
      }
    }
    for (int i = 0; i < kAccounts; ++i) {
      const std::uint64_t got = messages[std::to_string(i)];
      // What was under way when it was killed may or may not be there.
      EXPECT_GE(got, ledger.done[i].load());
      EXPECT_LE(got, ledger.begun[i].load());
    }
    EXPECT_GE(ends, ledger.opened.load());
    EXPECT_LE(ends, ledger.opened.load() + kLives);
    ::munmap(memory, sizeof(Ledger));
  }
}

}  // namespace
}  // namespace sluice::telemetry
