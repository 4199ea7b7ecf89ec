#include <gtest/gtest.h>

#include "proxy/base/limits.h"
#include "proxy/sync/record_intake.h"
#include "proxy/sync/record_uploader.h"

namespace sluice::sync {
namespace {

struct Spool {
  std::vector<records::Record> records;
  std::uint64_t acknowledged = 0;
  std::vector<std::string> closed;

  void add(int count) {
    for (int i = 0; i < count; ++i) {
      records::Record record;
      record.set_epoch(7);
      record.set_sequence(records.size() + 1);
      records.push_back(record);
    }
  }
  RecordUploader::Environment environment() {
    return {[this](std::uint64_t after, std::size_t max) {
              std::vector<records::Record> batch;
              for (const auto& record : records) {
                if (record.sequence() > after && batch.size() < max) {
                  batch.push_back(record);
                }
              }
              return batch;
            },
            [this](std::uint64_t epoch, std::uint64_t sequence) {
              EXPECT_EQ(epoch, 7U);
              acknowledged = sequence;
            },
            [this](const std::string& connection) { closed.push_back(connection); }};
  }
};

records::UploadResponse stored(std::uint64_t sequence) {
  records::UploadResponse response;
  response.set_epoch(7);
  response.set_sequence(sequence);
  return response;
}

TEST(RecordUploader, SendsInOrderWithAWindowOfBatches) {
  Spool spool;
  spool.add(10 * static_cast<int>(limits::kRecordBatchMax));
  RecordUploader uploader(spool.environment());
  std::vector<records::UploadRequest> sent;
  uploader.on_connected([&](records::UploadRequest request) { sent.push_back(request); });
  ASSERT_EQ(sent.size(), limits::kRecordBatchesUnansweredMax);
  EXPECT_EQ(sent[1].records(0).sequence(), limits::kRecordBatchMax + 1);
  uploader.on_response(stored(limits::kRecordBatchMax));
  EXPECT_EQ(sent.size(), limits::kRecordBatchesUnansweredMax + 1);
  EXPECT_EQ(spool.acknowledged, limits::kRecordBatchMax);
}

TEST(RecordUploader, SendsWhatIsNotAcknowledgedAgainOnANewStream) {
  Spool spool;
  spool.add(5);
  RecordUploader uploader(spool.environment());
  std::vector<records::UploadRequest> sent;
  const auto send = [&](records::UploadRequest request) { sent.push_back(request); };
  uploader.on_connected(send);
  uploader.on_response(stored(2));
  uploader.on_disconnected();
  spool.add(1);
  uploader.on_available();
  EXPECT_EQ(sent.size(), 1U);
  uploader.on_connected(send);
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[1].records(0).sequence(), 3U);
  EXPECT_EQ(sent[1].records().size(), 4);
  spool.add(1);
  uploader.on_available();
  EXPECT_EQ(sent.size(), 3U);
}

TEST(RecordUploader, ClosesWhatItIsToldToAndTakesThatForNoAcknowledgement) {
  Spool spool;
  spool.add(5);
  RecordUploader uploader(spool.environment());
  uploader.on_connected([](const records::UploadRequest&) {});
  uploader.on_response(stored(2));
  records::UploadResponse close;
  close.set_close_connection("c-1");
  uploader.on_response(close);
  EXPECT_EQ(spool.closed, std::vector<std::string>{"c-1"});
  EXPECT_EQ(spool.acknowledged, 2U);
  EXPECT_EQ(uploader.state().acknowledged_sequence, 2U);
  EXPECT_EQ(uploader.state().batches_unanswered, 1U);
}

class Intake : public ::testing::Test {
 protected:
  records::UploadRequest batch(std::initializer_list<std::uint64_t> sequences,
                               std::uint64_t epoch = 7) {
    records::UploadRequest request;
    for (const std::uint64_t sequence : sequences) {
      request.add_records()->set_epoch(epoch);
      request.mutable_records()->rbegin()->set_sequence(sequence);
    }
    return request;
  }
  std::vector<records::Record> appended;
  std::vector<std::function<void(absl::Status)>> waiting;
  std::vector<std::uint64_t> responses;
  absl::Status finished;
  int reads = 0;
  RecordIntake intake{
      "node",
      {[this](std::vector<records::Record> batch, auto done) {
         appended.insert(appended.end(), batch.begin(), batch.end());
         waiting.push_back(done);
       },
       [this](const records::UploadResponse& response) {
         responses.push_back(response.sequence());
       },
       [this](absl::Status status) { finished = std::move(status); }, [this] { ++reads; }}};
};

TEST_F(Intake, AnswersWhenTheBatchIsStoredAndNamesTheProxy) {
  intake.on_request(batch({1, 2}));
  intake.on_request(batch({3}));
  ASSERT_EQ(waiting.size(), 1U);
  EXPECT_EQ(appended[0].proxy(), "node");
  EXPECT_TRUE(responses.empty());
  waiting[0](absl::OkStatus());
  EXPECT_EQ(responses, std::vector<std::uint64_t>{2});
  ASSERT_EQ(waiting.size(), 2U);
  waiting[1](absl::OkStatus());
  EXPECT_EQ(responses.back(), 3U);
  EXPECT_EQ(reads, 2);
}

TEST_F(Intake, EndsTheStreamWhenRecordsCannotBeStored) {
  intake.on_request(batch({1}));
  intake.on_request(batch({2}));
  waiting[0](unavailable("disk full"));
  EXPECT_EQ(finished.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(responses.empty());
  EXPECT_EQ(waiting.size(), 1U);
}

TEST_F(Intake, RefusesBatchesThatBreakTheProtocol) {
  intake.on_request(batch({2, 1}));
  EXPECT_EQ(finished.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(waiting.empty());
}

TEST_F(Intake, RefusesRecordsWithoutAnEpoch) {
  intake.on_request(batch({1}, 0));
  EXPECT_EQ(finished.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(Intake, SaysNothingAfterTheStreamIsGone) {
  intake.on_request(batch({1}));
  intake.on_disconnected();
  waiting[0](absl::OkStatus());
  EXPECT_TRUE(responses.empty());
  EXPECT_EQ(reads, 0);
}

}  // namespace
}  // namespace sluice::sync
