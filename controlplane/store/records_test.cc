#include "controlplane/store/records.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "controlplane/store/test_store.h"

namespace sluice::controlplane::store {
namespace {

using telemetry::v1::Record;

constexpr char kOrg[] = "default";
constexpr std::int64_t kHour = 3600;

// Twenty hours into 1970, so that nothing here is old.
SqliteOptions fixed_time() {
  SqliteOptions options;
  options.now = [] { return wall_from_ms(20 * kHour * 1000); };
  return options;
}

Record record(std::uint64_t sequence, Record::Part part, const std::string& connection,
              std::uint64_t up = 0) {
  Record record;
  record.set_epoch(7);
  record.set_sequence(sequence);
  record.set_part(part);
  record.set_connection_id(connection);
  record.set_api("echo");
  record.set_application("app");
  record.set_key_type(config::v1::PRODUCTION);
  record.mutable_end()->set_seconds(10 * kHour + 5);
  record.set_messages_up(up);
  record.set_bytes_up(up * 10);
  return record;
}

TEST(Records, AreStoredOnceHoweverOftenTheyCome) {
  TestStore store(fixed_time());
  const std::vector<Record> batch = {record(1, Record::INTERIM, "c", 5),
                                     record(2, Record::FINAL, "c", 2)};
  ASSERT_TRUE(store->append_records(kOrg, "p1", batch).ok());
  ASSERT_TRUE(store->append_records(kOrg, "p1", batch).ok());
  ASSERT_TRUE(
      store->append_records(kOrg, "p1", {batch[1], record(3, Record::INTERIM, "d", 1)}).ok());
  EXPECT_EQ(store->list_records(kOrg, {})->records.size(), 3U);
  EXPECT_EQ(store->last_sequence(kOrg, "p1", 7).value(), 3U);
  EXPECT_EQ(store->last_sequence(kOrg, "p1", 8).value(), 0U);
  const std::vector<UsageSum> sums = store->usage(kOrg, "", "", 0).value();
  ASSERT_EQ(sums.size(), 1U);
  EXPECT_EQ(sums[0].messages_up, 8U);
  EXPECT_EQ(sums[0].bytes_up, 80U);
  EXPECT_EQ(sums[0].connections, 2U);
}

TEST(Records, OfAnotherProxyOrEpochAreOthers) {
  TestStore store(fixed_time());
  Record other = record(1, Record::FINAL, "d", 1);
  other.set_epoch(8);
  ASSERT_TRUE(store->append_records(kOrg, "p1", {record(1, Record::FINAL, "c", 1), other}).ok());
  ASSERT_TRUE(store->append_records(kOrg, "p2", {record(1, Record::FINAL, "e", 1)}).ok());
  EXPECT_EQ(store->usage(kOrg, "", "", 0)->front().messages_up, 3U);
  EXPECT_EQ(store->record_heads(kOrg)->size(), 3U);
  EXPECT_EQ(store->list_records(kOrg, {})->records.front().proxy(), "p2");
}

TEST(Records, ArePagedNewestFirstAndFiltered) {
  TestStore store(fixed_time());
  std::vector<Record> batch;
  for (std::uint64_t i = 1; i <= 10; ++i) {
    batch.push_back(record(i, Record::FINAL, fmt::format("c{}", i)));
    batch.back().set_api(i % 2 == 0 ? "even" : "odd");
    batch.back().set_application(i <= 5 ? "low" : "high");
    batch.back().mutable_end()->set_seconds(static_cast<std::int64_t>(i));
  }
  ASSERT_TRUE(store->append_records(kOrg, "p", batch).ok());
  RecordFilter filter;
  filter.api = "even";
  filter.limit = 3;
  RecordPage page = store->list_records(kOrg, filter).value();
  ASSERT_EQ(page.records.size(), 3U);
  EXPECT_EQ(page.records[0].sequence(), 10U);
  EXPECT_EQ(page.records[2].sequence(), 6U);
  filter.before_id = page.next_before_id;
  page = store->list_records(kOrg, filter).value();
  ASSERT_EQ(page.records.size(), 2U);
  EXPECT_EQ(page.next_before_id, 0);
  filter = {};
  filter.application = "high";
  filter.since_ms = 9000;
  EXPECT_EQ(store->list_records(kOrg, filter)->records.size(), 2U);
  filter = {};
  filter.connection_id = "c4";
  EXPECT_EQ(store->list_records(kOrg, filter)->records.size(), 1U);
}

TEST(Usage, IsSummedByHourApiApplicationAndKeyType) {
  TestStore store(fixed_time());
  Record late = record(3, Record::FINAL, "e", 4);
  late.mutable_end()->set_seconds(11 * kHour);
  Record sandbox = record(4, Record::FINAL, "f", 8);
  sandbox.set_key_type(config::v1::SANDBOX);
  Record refused = record(5, Record::REFUSED, "g");
  ASSERT_TRUE(store
                  ->append_records(kOrg, "p",
                                   {record(1, Record::FINAL, "c", 1),
                                    record(2, Record::FINAL, "d", 2), late, sandbox, refused})
                  .ok());
  const std::vector<UsageSum> all = store->usage(kOrg, "echo", "app", 0).value();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].messages_up, 7U);
  EXPECT_EQ(all[0].connections, 3U);
  EXPECT_EQ(all[0].refused, 1U);
  EXPECT_EQ(all[1].key_type, config::v1::SANDBOX);
  EXPECT_EQ(all[1].messages_up, 8U);
  const std::vector<UsageSum> recent = store->usage(kOrg, "", "", 11 * kHour * 1000 + 1).value();
  ASSERT_EQ(recent.size(), 1U);
  EXPECT_EQ(recent[0].messages_up, 4U);
  EXPECT_TRUE(store->usage(kOrg, "none", "", 0)->empty());
}

TEST(Connections, AreLiveFromInterimToFinalAndSumTheirParts) {
  TestStore store(fixed_time());
  ASSERT_TRUE(store->append_records(kOrg, "p", {record(1, Record::INTERIM, "c", 1)}).ok());
  ASSERT_TRUE(store->append_records(kOrg, "p", {record(2, Record::INTERIM, "c", 2)}).ok());
  std::vector<ConnectionState> live = store->connections(kOrg, {}).value();
  ASSERT_EQ(live.size(), 1U);
  EXPECT_TRUE(live[0].live);
  EXPECT_EQ(live[0].record.messages_up(), 3U);
  EXPECT_EQ(live[0].record.proxy(), "p");
  Record last = record(3, Record::FINAL, "c", 4);
  last.set_close_code(1000);
  ASSERT_TRUE(store->append_records(kOrg, "p", {last, record(4, Record::REFUSED, "r")}).ok());
  EXPECT_TRUE(store->connections(kOrg, {})->empty());
  ConnectionFilter filter;
  filter.connection_id = "c";
  const ConnectionState ended = store->connections(kOrg, filter)->front();
  EXPECT_FALSE(ended.live);
  EXPECT_EQ(ended.record.messages_up(), 7U);
  EXPECT_EQ(ended.record.close_code(), 1000U);
  filter = {};
  filter.refused = true;
  EXPECT_EQ(store->connections(kOrg, filter)->size(), 2U);
}

TEST(Connections, StayEndedWhenAPartComesLate) {
  TestStore store(fixed_time());
  ASSERT_TRUE(store->append_records(kOrg, "p", {record(1, Record::RECOVERED, "c", 1)}).ok());
  Record late = record(1, Record::INTERIM, "c", 2);
  late.set_epoch(6);
  ASSERT_TRUE(store->append_records(kOrg, "p", {late}).ok());
  EXPECT_TRUE(store->connections(kOrg, {})->empty());
  EXPECT_EQ(store->usage(kOrg, "", "", 0)->front().messages_up, 3U);
  EXPECT_EQ(store->usage(kOrg, "", "", 0)->front().connections, 1U);
}

TEST(Retention, DropsTheOldestRecordsButKeepsTheSumsAndTheHeads) {
  SqliteOptions options = fixed_time();
  options.records_max = 10;
  TestStore store(options);
  std::vector<Record> batch;
  for (std::uint64_t i = 1; i <= 50; ++i) {
    batch.push_back(record(i, Record::FINAL, fmt::format("c{}", i), 1));
  }
  ASSERT_TRUE(store->append_records(kOrg, "p", batch).ok());
  store.close();
  store.open();
  ASSERT_TRUE(store->append_records(kOrg, "p", batch).ok());
  ASSERT_TRUE(store->append_records(kOrg, "p", batch).ok());
  const RecordPage page = store->list_records(kOrg, {}).value();
  ASSERT_EQ(page.records.size(), 10U);
  EXPECT_EQ(page.records.back().sequence(), 41U);
  EXPECT_EQ(store->usage(kOrg, "", "", 0)->front().messages_up, 50U);
}

}  // namespace
}  // namespace sluice::controlplane::store
