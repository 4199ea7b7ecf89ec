// Discovery as clients other than ours use it.
#include <gtest/gtest.h>

#include "envoy/service/discovery/v3/discovery.grpc.pb.h"
#include "proxy/control/channel.h"
#include "tests/planes/planes.h"

namespace sluice::planes {
namespace {

namespace xds = ::envoy::service::discovery::v3;

const std::string kApi = "type.googleapis.com/sluice.config.v1.Api";

DiscoveryOptions plaintext() {
  DiscoveryOptions options;
  options.insecure_plaintext = true;
  return options;
}

class Foreign : public ::testing::Test {
 protected:
  void SetUp() override {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  }
  std::unique_ptr<xds::AggregatedDiscoveryService::Stub> stub(
      const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    return xds::AggregatedDiscoveryService::NewStub(
        grpc::CreateChannel(plane.address(), credentials));
  }
  ControlPlane plane{plaintext()};
  grpc::ClientContext context;
};

TEST_F(Foreign, StateOfTheWorldGetsAllAndWhatChanges) {
  plane.put("Api", "a", api("/a"));
  const auto client = stub(grpc::InsecureChannelCredentials());
  auto stream = client->StreamAggregatedResources(&context);
  xds::DiscoveryRequest request;
  request.mutable_node()->set_id("foreign");
  request.set_type_url(kApi);
  ASSERT_TRUE(stream->Write(request));
  xds::DiscoveryResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.resources().size(), 1);
  xds::Resource resource;
  v1::Api got;
  ASSERT_TRUE(response.resources(0).UnpackTo(&resource));
  ASSERT_TRUE(resource.resource().UnpackTo(&got));
  EXPECT_EQ(resource.name(), "a");
  EXPECT_EQ(got.context(), "/a");
  request.set_response_nonce(response.nonce());
  request.set_version_info(response.version_info());
  ASSERT_TRUE(stream->Write(request));
  const std::int64_t revision = plane.put("Api", "b", api("/b"));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.resources().size(), 2);
  request.set_response_nonce(response.nonce());
  request.set_version_info(response.version_info());
  ASSERT_TRUE(stream->Write(request));
  EXPECT_TRUE(plane.wait(revision).complete());
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(Foreign, DeltaByNameGetsAbsenceAndCreation) {
  const auto client = stub(grpc::InsecureChannelCredentials());
  auto stream = client->DeltaAggregatedResources(&context);
  xds::DeltaDiscoveryRequest request;
  request.set_type_url(kApi);
  request.add_resource_names_subscribe("a");
  ASSERT_TRUE(stream->Write(request));
  xds::DeltaDiscoveryResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.removed_resources().size(), 1);
  plane.put("Api", "other", api("/other"));
  plane.put("Api", "a", api("/a"));
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.resources().size(), 1);
  EXPECT_EQ(response.resources(0).name(), "a");
  context.TryCancel();
  stream->Finish();
}

TEST_F(Foreign, ClientsThatBreakTheProtocolAreToldWhy) {
  const auto client = stub(grpc::InsecureChannelCredentials());
  auto stream = client->DeltaAggregatedResources(&context);
  ASSERT_TRUE(stream->Write({}));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(ForeignTls, ClientsWithoutACertificateAreToldToJoin) {
  ControlPlane plane;
  const control::Credentials trust{"", "", plane.authority().certificate_pem()};
  const auto stub = xds::AggregatedDiscoveryService::NewStub(
      control::make_channel({plane.address(), &trust, false}));
  grpc::ClientContext context;
  auto stream = stub->DeltaAggregatedResources(&context);
  xds::DeltaDiscoveryRequest request;
  request.set_type_url(kApi);
  ASSERT_TRUE(stream->Write(request));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_NE(status.error_message().find("join-token create"), std::string::npos);
}

TEST(ForeignTls, OperatorsAreNotProxies) {
  ControlPlane plane;
  const auto pair = *plane.authority().issue(
      {{}, "spiffe://sluice-operator/kim", "", false, std::chrono::hours(1)}, system_wall());
  const control::Credentials operator_credentials{pair.certificate_pem, pair.private_key_pem,
                                                  plane.authority().certificate_pem()};
  const auto stub = xds::AggregatedDiscoveryService::NewStub(
      control::make_channel({plane.address(), &operator_credentials, false}));
  grpc::ClientContext context;
  auto stream = stub->DeltaAggregatedResources(&context);
  xds::DeltaDiscoveryRequest request;
  request.set_type_url(kApi);
  ASSERT_TRUE(stream->Write(request));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

}  // namespace
}  // namespace sluice::planes
