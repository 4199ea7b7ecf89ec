#include "controlplane/analytics/record_service.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "controlplane/store/sqlite_store.h"
#include "proxy/base/encoding.h"

namespace sluice::controlplane::analytics {
namespace {

using telemetry::v1::Record;
using telemetry::v1::UploadRequest;
using telemetry::v1::UploadResponse;

constexpr char kOrganisation[] = "default";

// A real server and client in one process, over TCP on a free port.
class RecordServiceTest : public testing::Test {
 protected:
  RecordServiceTest()
      : directory_(std::filesystem::temp_directory_path() /
                   ("sluice-records-" + hex(random_bytes(8)))) {
    std::filesystem::create_directory(directory_);
    store::SqliteOptions options;
    options.path = (directory_ / "control.db").string();
    store_ = *store::open_sqlite(options);
    service_ = std::make_unique<RecordService>(
        *store_, kOrganisation,
        [](const grpc::ServerContextBase& context) -> absl::StatusOr<std::string> {
          const auto found = context.client_metadata().find("node");
          if (found == context.client_metadata().end()) {
            return absl::PermissionDeniedError("who are you");
          }
          return std::string(found->second.data(), found->second.size());
        });
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = telemetry::v1::RecordService::NewStub(grpc::CreateChannel(
        "127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  }
  ~RecordServiceTest() override {
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
    server_.reset();
    service_.reset();
    store_.reset();
    std::filesystem::remove_all(directory_);
  }

  static UploadRequest batch(std::uint64_t first, std::uint64_t last) {
    UploadRequest request;
    for (std::uint64_t sequence = first; sequence <= last; ++sequence) {
      Record* record = request.add_records();
      record->set_epoch(7);
      record->set_sequence(sequence);
      record->set_part(Record::FINAL);
      record->set_connection_id("c" + std::to_string(sequence));
      record->set_api("echo");
      record->set_application("app");
      record->set_messages_up(1);
      record->set_proxy("liar");
    }
    return request;
  }
  std::size_t stored() {
    store::RecordFilter filter;
    filter.limit = 1000;
    return store_->list_records(kOrganisation, filter)->records.size();
  }

  const std::filesystem::path directory_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<RecordService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<telemetry::v1::RecordService::Stub> stub_;
};

TEST_F(RecordServiceTest, AcknowledgesWhatIsStored) {
  grpc::ClientContext context;
  context.AddMetadata("node", "node-1");
  const auto stream = stub_->Upload(&context);
  ASSERT_TRUE(stream->Write(batch(1, 3)));
  UploadResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.epoch(), 7u);
  EXPECT_EQ(response.sequence(), 3u);
  EXPECT_EQ(stored(), 3u);
  ASSERT_TRUE(stream->Write(batch(4, 4)));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.sequence(), 4u);
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(*store_->last_sequence(kOrganisation, "node-1", 7), 4u);
  EXPECT_EQ(*store_->last_sequence(kOrganisation, "liar", 7), 0u);
}

TEST_F(RecordServiceTest, StoresWhatComesAgainOnlyOnce) {
  for (int i = 0; i < 3; ++i) {
    grpc::ClientContext context;
    context.AddMetadata("node", "node-1");
    const auto stream = stub_->Upload(&context);
    ASSERT_TRUE(stream->Write(batch(1, 5)));
    UploadResponse response;
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.sequence(), 5u);
    context.TryCancel();
    stream->Finish();
  }
  EXPECT_EQ(stored(), 5u);
}

TEST_F(RecordServiceTest, TellsTheProxyThatHasAConnectionToCloseIt) {
  grpc::ClientContext context;
  context.AddMetadata("node", "node-1");
  const auto stream = stub_->Upload(&context);
  ASSERT_TRUE(stream->Write(batch(1, 1)));
  UploadResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_FALSE(service_->close_connection("node-2", "c1"));
  EXPECT_TRUE(service_->close_connection("node-1", "c1"));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.close_connection(), "c1");
  EXPECT_EQ(response.sequence(), 0u);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(RecordServiceTest, RefusesWhoIsNotKnown) {
  grpc::ClientContext context;
  const auto stream = stub_->Upload(&context);
  UploadResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(RecordServiceTest, EndsTheStreamOfABrokenBatch) {
  grpc::ClientContext context;
  context.AddMetadata("node", "node-1");
  const auto stream = stub_->Upload(&context);
  UploadRequest request = batch(1, 2);
  request.mutable_records(1)->set_sequence(1);
  stream->Write(request);
  UploadResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(stored(), 0u);
}

TEST_F(RecordServiceTest, EndsItsStreamsWhenItStops) {
  grpc::ClientContext context;
  context.AddMetadata("node", "node-1");
  const auto stream = stub_->Upload(&context);
  ASSERT_TRUE(stream->Write(batch(1, 1)));
  UploadResponse response;
  ASSERT_TRUE(stream->Read(&response));
  service_->stop();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  grpc::ClientContext late;
  late.AddMetadata("node", "node-2");
  const auto second = stub_->Upload(&late);
  EXPECT_FALSE(second->Read(&response));
  EXPECT_EQ(second->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(RecordServiceTest, ServesManyProxiesAtOnce) {
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([this, i] {
      grpc::ClientContext context;
      context.AddMetadata("node", "node-" + std::to_string(i));
      const auto stream = stub_->Upload(&context);
      UploadResponse response;
      for (std::uint64_t n = 1; n <= 20; ++n) {
        ASSERT_TRUE(stream->Write(batch(n, n)));
        ASSERT_TRUE(stream->Read(&response));
        EXPECT_EQ(response.sequence(), n);
      }
      stream->WritesDone();
      EXPECT_TRUE(stream->Finish().ok());
    });
  }
  for (std::thread& client : clients) {
    client.join();
  }
  EXPECT_EQ(stored(), 160u);
  EXPECT_EQ(service_->stats().records, 160u);
}

}  // namespace
}  // namespace sluice::controlplane::analytics
