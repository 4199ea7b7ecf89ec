#include "proxy/telemetry/spool.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "proxy/telemetry/test_support.h"

namespace sluice::telemetry {
namespace {

// A disk that is full after so many bytes; negative: never.
std::int64_t disk_room = -1;

ssize_t write_to_small_disk(int fd, const void* data, std::size_t size) {
  if (disk_room < 0) {
    return ::write(fd, data, size);
  }
  if (disk_room == 0) {
    errno = ENOSPC;
    return -1;
  }
  const auto fits = std::min<std::size_t>(size, static_cast<std::size_t>(disk_room));
  disk_room -= static_cast<std::int64_t>(fits);
  return ::write(fd, data, fits);
}

class SpoolTest : public testing::Test {
 protected:
  SpoolTest() {
    disk_room = -1;
    options.directory = dir / "spool";
    options.write = write_to_small_disk;
    reopen();
  }
  void reopen() {
    spool.reset();
    auto opened = Spool::open(options);
    ASSERT_TRUE(opened.ok()) << message_of(opened.status());
    spool = *std::move(opened);
  }
  RecordSink::Taken append(int count) {
    std::vector<Record> records;
    for (int i = 0; i < count; ++i) {
      records.push_back(sample_record("id-" + std::to_string(made++)));
    }
    RecordSink::Taken taken = spool->append(records);
    made -= static_cast<int>(records.size() - taken.count);
    return taken;
  }
  // Reads everything in small batches and checks that it is in order, with ids by order of making.
  std::vector<NumberedRecord> read_all(std::size_t batch = 7) {
    std::vector<NumberedRecord> all;
    std::uint64_t after = 0;
    while (true) {
      const auto some = spool->read(after, batch);
      if (some.empty()) {
        return all;
      }
      EXPECT_LE(some.size(), batch);
      for (const NumberedRecord& record : some) {
        EXPECT_GT(record.sequence, after);
        EXPECT_EQ(record.epoch, spool->epoch());
        after = record.sequence;
        all.push_back(record);
      }
    }
  }
  std::vector<std::string> segments() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(options.directory)) {
      if (entry.path().extension() == ".seg") {
        found.push_back(entry.path());
      }
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  TempDir dir;
  Spool::Options options;
  std::unique_ptr<Spool> spool;
  int made = 0;
};

TEST_F(SpoolTest, GivesRecordsInOrderFromASequenceOn) {
  EXPECT_TRUE(spool->read(0, 10).empty());
  EXPECT_EQ(spool->next_sequence(), 1u);
  EXPECT_EQ(append(3).count, 3u);
  EXPECT_EQ(append(2).count, 2u);
  EXPECT_EQ(spool->last_sequence(), 5u);
  EXPECT_EQ(spool->waiting(), 5u);
  const auto all = read_all(2);
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(all[4].sequence, 5u);
  EXPECT_EQ(all[4].record.facts.connection_id, "id-4");
  const auto some = spool->read(3, 10);
  ASSERT_EQ(some.size(), 2u);
  EXPECT_EQ(some[0].sequence, 4u);
  // Back again, as after a reconnect.
  EXPECT_EQ(spool->read(1, 1)[0].sequence, 2u);
}

TEST_F(SpoolTest, ForgetsWhatIsAcknowledged) {
  options.segment_bytes = 1000;
  reopen();
  for (int i = 0; i < 20; ++i) {
    append(2);
  }
  EXPECT_GT(segments().size(), 4u);
  spool->acknowledge(spool->epoch() + 1, 40);
  EXPECT_EQ(spool->waiting(), 40u);
  spool->acknowledge(spool->epoch(), 39);
  EXPECT_EQ(spool->waiting(), 1u);
  EXPECT_EQ(segments().size(), 1u);
  EXPECT_EQ(spool->read(0, 10).size(), 1u);
  spool->acknowledge(spool->epoch(), 5);
  EXPECT_EQ(spool->acknowledged(), 39u);
  spool->acknowledge(spool->epoch(), 4000);
  EXPECT_EQ(spool->acknowledged(), 40u);
  EXPECT_TRUE(spool->read(0, 10).empty());
  append(1);
  EXPECT_EQ(read_all()[0].sequence, 41u);
}

TEST_F(SpoolTest, FreesALargeSegmentThoughItIsTheNewest) {
  append(2000);
  spool->acknowledge(spool->epoch(), 2000);
  EXPECT_TRUE(segments().empty());
  EXPECT_EQ(spool->bytes(), 0u);
  append(1);
  EXPECT_EQ(read_all()[0].sequence, 2001u);
}

TEST_F(SpoolTest, KeepsRecordsEpochAndSequenceWhenOpenedAgain) {
  const std::uint64_t epoch = spool->epoch();
  EXPECT_NE(epoch, 0u);
  append(3);
  reopen();
  EXPECT_EQ(spool->epoch(), epoch);
  EXPECT_EQ(spool->last_sequence(), 3u);
  append(2);
  EXPECT_EQ(read_all().size(), 5u);
  spool->acknowledge(epoch, 5);
  reopen();
  EXPECT_TRUE(segments().empty());
  EXPECT_EQ(spool->last_sequence(), 5u);
  EXPECT_EQ(spool->next_sequence(), 6u);
  EXPECT_EQ(spool->waiting(), 0u);
}

TEST_F(SpoolTest, HoldsAPrefixOfABatchThatWasTorn) {
  append(3);
  spool.reset();
  const std::string path = segments().back();
  const auto whole = std::filesystem::file_size(path);
  // As kill -9 leaves it: any part of the next write.
  std::string torn;
  std::ifstream file(path, std::ios::binary);
  torn.assign(std::istreambuf_iterator<char>(file), {});
  for (const std::size_t extra : {1, 8, 9, 100}) {
    std::filesystem::resize_file(path, whole);
    std::ofstream out(path, std::ios::binary | std::ios::app);
    out << torn.substr(40, extra);
    out.close();
    reopen();
    EXPECT_EQ(spool->last_sequence(), 3u);
    EXPECT_EQ(read_all().size(), 3u);
    spool.reset();
    EXPECT_EQ(std::filesystem::file_size(path), whole);
  }
  std::filesystem::resize_file(path, whole - 1);
  made = 2;
  reopen();
  // The third was durable once; its number is not used again.
  EXPECT_EQ(read_all().size(), 2u);
  EXPECT_EQ(spool->next_sequence(), 4u);
}

TEST_F(SpoolTest, RemovesASegmentThatWasNeverBegun) {
  spool.reset();
  std::ofstream(options.directory + "/00000000000000000001.seg") << "SLI";
  reopen();
  EXPECT_TRUE(segments().empty());
  EXPECT_EQ(append(1).count, 1u);
}

TEST_F(SpoolTest, SetsAsideWhatIsNotItsOwn) {
  append(1);
  spool.reset();
  std::ofstream(options.directory + "/00000000000000000000.seg") << std::string(500, 'x');
  reopen();
  EXPECT_EQ(read_all().size(), 1u);
  EXPECT_TRUE(std::filesystem::exists(options.directory + "/00000000000000000000.seg.damaged"));
}

TEST_F(SpoolTest, RebuildsItsStateFromSegments) {
  const std::uint64_t epoch = spool->epoch();
  append(4);
  spool.reset();
  std::filesystem::remove(options.directory + "/state");
  reopen();
  EXPECT_EQ(spool->epoch(), epoch);
  EXPECT_EQ(spool->last_sequence(), 4u);
  EXPECT_EQ(read_all().size(), 4u);
}

TEST_F(SpoolTest, ToleratesAFullDiskAndHeals) {
  append(2);
  for (const std::int64_t room : {0, 1, 50, 300, 700}) {
    disk_room = room;
    const RecordSink::Taken taken = append(5);
    EXPECT_LT(taken.count, 5u);
    EXPECT_FALSE(taken.status.ok());
    EXPECT_FALSE(spool->health().ok());
    EXPECT_NE(message_of(taken.status).find(options.directory), std::string_view::npos);
    disk_room = -1;
    EXPECT_EQ(append(1).count, 1u);
    EXPECT_TRUE(spool->health().ok());
    const auto all = read_all();
    ASSERT_EQ(all.size(), static_cast<std::size_t>(made));
    for (int i = 0; i < made; ++i) {
      EXPECT_EQ(all[static_cast<std::size_t>(i)].record.facts.connection_id,
                "id-" + std::to_string(i));
    }
  }
  reopen();
  EXPECT_EQ(read_all().size(), static_cast<std::size_t>(made));
}

TEST_F(SpoolTest, ToleratesAFullDiskWhenASegmentBegins) {
  disk_room = 3;
  EXPECT_EQ(append(1).count, 0u);
  EXPECT_TRUE(segments().empty());
  disk_room = -1;
  EXPECT_EQ(append(1).count, 1u);
  EXPECT_EQ(read_all().size(), 1u);
}

TEST_F(SpoolTest, RefusesWhatIsBeyondItsBound) {
  options.bytes_max = 3000;
  reopen();
  const RecordSink::Taken taken = append(100);
  EXPECT_GT(taken.count, 5u);
  EXPECT_LT(taken.count, 30u);
  EXPECT_EQ(taken.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_LE(spool->bytes(), 3000u);
  EXPECT_EQ(append(1).count, 0u);
  EXPECT_EQ(read_all().size(), taken.count);
}

TEST_F(SpoolTest, TellsOnceWhatWasDropped) {
  append(1);
  spool->count_dropped(3);
  EXPECT_EQ(spool->dropped(), 3u);
  reopen();
  spool->count_dropped(2);
  append(2);
  append(1);
  const auto all = read_all();
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].dropped_before, 0u);
  EXPECT_EQ(all[1].dropped_before, 5u);
  EXPECT_EQ(all[2].dropped_before, 0u);
  EXPECT_EQ(all[3].dropped_before, 0u);
  reopen();
  append(1);
  EXPECT_EQ(read_all()[4].dropped_before, 0u);
  EXPECT_EQ(spool->dropped(), 5u);
}

TEST_F(SpoolTest, TellsWhatWasDroppedThoughTheFirstWriteFailed) {
  append(1);
  spool->count_dropped(3);
  disk_room = 0;
  append(1);
  disk_room = -1;
  append(1);
  EXPECT_EQ(read_all()[1].dropped_before, 3u);
}

TEST_F(SpoolTest, SkipsDamageAndCountsIt) {
  options.segment_bytes = 500;
  reopen();
  for (int i = 0; i < 12; ++i) {
    append(1);
  }
  ASSERT_GT(segments().size(), 2u);
  const std::string first = segments().front();
  const auto before = read_all().size();
  EXPECT_EQ(before, 12u);
  {
    std::fstream file(first, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(first)) - 20);
    file << "damage";
  }
  const auto after = read_all();
  EXPECT_EQ(after.size(), 11u);
  EXPECT_EQ(spool->dropped(), 1u);
  EXPECT_EQ(read_all().size(), 11u);
  EXPECT_EQ(spool->dropped(), 1u);
  // Found only at the next start, it is counted just the same.
  append(1);
  EXPECT_EQ(read_all().back().dropped_before, 1u);
}

TEST_F(SpoolTest, GoesOnBehindDamageInTheNewestSegment) {
  append(3);
  {
    const std::string newest = segments().back();
    std::fstream file(newest, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(newest)) - 20);
    file << "damage";
  }
  EXPECT_EQ(read_all().size(), 2u);
  append(2);
  const auto all = read_all();
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[2].sequence, 4u);
  EXPECT_EQ(all[2].dropped_before, 1u);
  reopen();
  EXPECT_EQ(read_all().size(), 4u);
  EXPECT_EQ(spool->dropped(), 1u);
}

TEST_F(SpoolTest, RefusesASecondProcess) {
  const auto second = Spool::open(options);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(message_of(second.status()).find("in use by another process"), std::string_view::npos);
}

TEST_F(SpoolTest, UsesNoSequenceTwiceAfterAPowerFailure) {
  append(3);
  spool.reset();
  // Another start of the machine, and the disk has lost the last record.
  {
    std::fstream file(options.directory + "/state",
                      std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(8 * 8);
    file << "another-boot";
  }
  reopen();
  EXPECT_EQ(spool->last_sequence(), 3u);
  EXPECT_GT(spool->next_sequence(), 4'000'000'000u);
  EXPECT_EQ(append(2).count, 2u);
  EXPECT_EQ(read_all().size(), 5u);
  const std::uint64_t next = spool->next_sequence();
  reopen();
  EXPECT_EQ(spool->next_sequence(), next);
  EXPECT_EQ(read_all().size(), 5u);
  EXPECT_EQ(spool->waiting(), 5u);
}

}  // namespace
}  // namespace sluice::telemetry
