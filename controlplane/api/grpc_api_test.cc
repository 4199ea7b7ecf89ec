#include "controlplane/api/grpc_api.h"

#include <fmt/format.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <future>

#include "controlplane/api/test_world.h"

namespace sluice::controlplane::api {
namespace {

// A server of the world's table and a client that knows no generated code.
class Served {
 public:
  explicit Served(
      std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials())
      : api(*world.table, pool, nullptr) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", std::move(credentials), &port);
    api.register_with(builder);
    server = builder.BuildAndStart();
    api.started(*server);
  }
  ~Served() { server->Shutdown(); }

  std::shared_ptr<grpc::Channel> channel(
      std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials()) {
    grpc::ChannelArguments arguments;
    // Channels with other credentials must not share a connection.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    // By address: c-ares leaks a little on every name, and LeakSanitizer says so.
    arguments.SetSslTargetNameOverride("localhost");
    return grpc::CreateCustomChannel(fmt::format("ipv4:127.0.0.1:{}", port), std::move(credentials),
                                     arguments);
  }

  World world;
  HandlerPool pool;
  GrpcApi api;
  int port = 0;
  std::unique_ptr<grpc::Server> server;
};

struct Reply {
  grpc::Status status;
  std::string bytes;
};

struct CallOptions {
  std::string token;
  std::chrono::milliseconds timeout{10'000};
};

std::string text_of(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (buffer.Valid() && buffer.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) {
      bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  return bytes;
}

// One request, one answer; works for the first answer of a stream too.
Reply call(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
           const std::string& request, const CallOptions& options = {}) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + options.timeout);
  if (!options.token.empty()) {
    context.AddMetadata("authorization", "Bearer " + options.token);
  }
  grpc::CompletionQueue queue;
  const auto step = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return ok;
  };
  const auto stream = stub.PrepareCall(&context, method, &queue);
  Reply reply;
  stream->StartCall(nullptr);
  if (step()) {
    const grpc::Slice slice(request);
    stream->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    step();
    stream->WritesDone(nullptr);
    step();
    grpc::ByteBuffer answer;
    stream->Read(&answer, nullptr);
    if (step()) {
      reply.bytes = text_of(answer);
    }
  }
  stream->Finish(&reply.status, nullptr);
  step();
  queue.Shutdown();
  return reply;
}

std::string login(Served& served, const std::shared_ptr<grpc::Channel>& channel) {
  admin::v1::LoginRequest request;
  request.set_user("admin");
  request.set_password("correct horse");
  const Reply reply =
      call(channel, "/sluice.admin.v1.AuthService/Login", request.SerializeAsString());
  EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
  admin::v1::LoginResponse response;
  response.ParseFromString(reply.bytes);
  (void)served;
  return response.token();
}

TEST(GrpcApi, CarriesCallsOfAGenericClient) {
  Served served;
  const auto channel = served.channel();
  CallOptions options;
  options.token = login(served, channel);
  admin::v1::CreateApiRequest create;
  create.mutable_api()->set_name("echo");
  *create.mutable_api()->mutable_spec() = World::echo_spec();
  const Reply created =
      call(channel, "/sluice.admin.v1.ApiService/CreateApi", create.SerializeAsString(), options);
  ASSERT_TRUE(created.status.ok()) << created.status.error_message();
  admin::v1::CreateApiResponse response;
  ASSERT_TRUE(response.ParseFromString(created.bytes));
  EXPECT_EQ(response.api().name(), "echo");
  const Reply again =
      call(channel, "/sluice.admin.v1.ApiService/CreateApi", create.SerializeAsString(), options);
  EXPECT_EQ(again.status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

TEST(GrpcApi, WantsABearerTokenBeforeItLooksAtTheRequest) {
  Served served;
  const auto channel = served.channel();
  const Reply refused = call(channel, "/sluice.admin.v1.ApiService/ListApi", "\xff\xff nonsense");
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_NE(refused.status.error_message().find("AuthService/Login"), std::string::npos);
  CallOptions options;
  options.token = login(served, channel);
  const Reply garbled =
      call(channel, "/sluice.admin.v1.ApiService/ListApi", "\xff\xff nonsense", options);
  EXPECT_EQ(garbled.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const Reply unknown = call(channel, "/sluice.admin.v1.ApiService/Explode", "", options);
  EXPECT_EQ(unknown.status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST(GrpcApi, ListsItsServicesByReflectionAndHealth) {
  Served served;
  const auto channel = served.channel();
  // ServerReflectionRequest{list_services: ""}
  const Reply services =
      call(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
           std::string("\x3a\x00", 2));
  ASSERT_TRUE(services.status.ok()) << services.status.error_message();
  for (const auto& [descriptor, methods] : served.world.table->services()) {
    EXPECT_NE(services.bytes.find(descriptor->full_name()), std::string::npos)
        << descriptor->full_name();
  }
  // ServerReflectionRequest{file_containing_symbol: ...} gives the file with the methods' names.
  const std::string symbol = "sluice.admin.v1.ApiService";
  const Reply file = call(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                          "\x22" + std::string(1, static_cast<char>(symbol.size())) + symbol);
  EXPECT_NE(file.bytes.find("ChangeApiState"), std::string::npos);
  for (const std::string& name : {std::string(), symbol}) {
    const Reply health = call(channel, "/grpc.health.v1.Health/Check",
                              "\x0a" + std::string(1, static_cast<char>(name.size())) + name);
    EXPECT_EQ(health.bytes, std::string("\x08\x01")) << name;
  }
}

TEST(GrpcApi, KeepsTheDeadlineOfAWaitAndServesOthersMeanwhile) {
  Served served;
  std::promise<void> begun;
  std::promise<void> end;
  served.world.services->rollouts.wait = [&](const std::string&, std::int64_t,
                                             nanoseconds timeout) {
    EXPECT_LE(timeout, seconds(60));
    begun.set_value();
    end.get_future().wait();
    return admin::v1::RolloutStatus();
  };
  const auto channel = served.channel();
  CallOptions options;
  options.token = login(served, channel);
  options.timeout = std::chrono::milliseconds(60'000);
  auto waiting = std::async(std::launch::async, [&] {
    return call(channel, "/sluice.admin.v1.RolloutService/Wait", "", options);
  });
  begun.get_future().wait();
  EXPECT_TRUE(call(channel, "/sluice.admin.v1.StatusService/GetStatus", "", options).status.ok());
  end.set_value();
  EXPECT_TRUE(waiting.get().status.ok());
}

// ---- client certificates

class Certified {
 public:
  Certified() : served(credentials()) {}

  std::shared_ptr<grpc::Channel> channel(const std::string& uri) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = authority().certificate_pem();
    if (!uri.empty()) {
      pki::Subject subject;
      subject.uri = uri;
      subject.life = std::chrono::hours(1);
      const pki::KeyPair pair = authority().issue(subject, system_wall()).value();
      options.pem_cert_chain = pair.certificate_pem;
      options.pem_private_key = pair.private_key_pem;
    }
    return served.channel(grpc::SslCredentials(options));
  }

 private:
  const pki::Authority& authority() {
    if (authority_ == nullptr) {
      authority_ = pki::Authority::open(directory_.directory() + "/tls", system_wall()).value();
    }
    return *authority_;
  }
  std::shared_ptr<grpc::ServerCredentials> credentials() {
    pki::Subject subject;
    subject.names = {"localhost"};
    subject.server = true;
    subject.life = std::chrono::hours(1);
    const pki::KeyPair pair = authority().issue(subject, system_wall()).value();
    grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = authority().certificate_pem();
    options.pem_key_cert_pairs = {{pair.private_key_pem, pair.certificate_pem}};
    return grpc::SslServerCredentials(options);
  }

  store::TestStore directory_;
  std::unique_ptr<pki::Authority> authority_;

 public:
  Served served;
};

TEST(GrpcApi, KnowsItsCallersByTheirCertificates) {
  Certified certified;
  const auto bare = certified.channel("");
  CallOptions options;
  options.token = login(certified.served, bare);
  const std::string path = "/sluice.admin.v1.StatusService/GetStatus";
  EXPECT_TRUE(call(bare, path, "", options).status.ok());
  EXPECT_TRUE(
      call(certified.channel("spiffe://sluice-operator/eve"), path, "", options).status.ok());
  const auto proxy = certified.channel("spiffe://sluice/default/edge-1");
  EXPECT_EQ(call(proxy, path, "", options).status.error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  const std::string renew = "/sluice.admin.v1.JoinService/Renew";
  EXPECT_EQ(call(bare, renew, "", options).status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  // A proxy that never joined is refused by the handler itself.
  EXPECT_EQ(call(proxy, renew, "").status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

}  // namespace
}  // namespace sluice::controlplane::api
