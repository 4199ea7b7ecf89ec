// The two planes as a test needs them.
#pragma once

#include <grpcpp/grpcpp.h>

#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/analytics/identify.h"
#include "controlplane/analytics/record_service.h"
#include "controlplane/discovery/discovery_server.h"
#include "controlplane/discovery/event_thread.h"
#include "controlplane/pki/authority.h"
#include "controlplane/pki/join.h"
#include "controlplane/pki/test_support.h"
#include "controlplane/store/test_store.h"
#include "proxy/control/control_plane_client.h"
#include "proxy/sync/test_proxy.h"
#include "sluice/admin/v1/services.grpc.pb.h"

namespace sluice::planes {

namespace v1 = ::sluice::config::v1;
using controlplane::discovery::DiscoveryOptions;
using controlplane::discovery::DiscoveryServer;
using controlplane::discovery::EventThread;

constexpr nanoseconds kPatience = seconds(20);

// JoinService over pki's handlers.
class JoinServer final : public admin::v1::JoinService::Service {
 public:
  explicit JoinServer(controlplane::pki::Joining& joining) : joining_(joining) {}

 private:
  static grpc::Status give(absl::StatusOr<admin::v1::JoinResponse> made,
                           admin::v1::JoinResponse* response) {
    if (!made.ok()) {
      return {static_cast<grpc::StatusCode>(made.status().code()),
              std::string(message_of(made.status()))};
    }
    *response = *std::move(made);
    return grpc::Status::OK;
  }
  grpc::Status Join(grpc::ServerContext*, const admin::v1::JoinRequest* request,
                    admin::v1::JoinResponse* response) override {
    return give(joining_.join(*request, system_wall()), response);
  }
  grpc::Status Renew(grpc::ServerContext* context, const admin::v1::RenewRequest* request,
                     admin::v1::JoinResponse* response) override {
    const auto pem = context->auth_context()->FindPropertyValues("x509_pem_cert");
    SLUICE_CHECK(pem.size() == 1);
    const auto peer =
        controlplane::pki::peer_from_certificate(std::string(pem[0].data(), pem[0].size()));
    return give(joining_.renew(*request, *peer, system_wall()), response);
  }

  controlplane::pki::Joining& joining_;
};

// Everything of a control plane that outlives a restart, and its server.
class ControlPlane {
 public:
  explicit ControlPlane(DiscoveryOptions options = {}) : options_(std::move(options)) {
    authority_ =
        *controlplane::pki::Authority::open(store_.directory() + "/tls", system_wall());
    proxies_ = *controlplane::pki::Proxies::open(*store_, "default");
    put("GatewayGroup", "default", v1::GatewayGroup());
    start();
  }
  ~ControlPlane() { stop(); }

  void start() {
    discovery_ = std::make_unique<DiscoveryServer>(*store_, proxies_.get(), options_);
    SLUICE_CHECK(discovery_->start().ok());
    joining_ = std::make_unique<controlplane::pki::Joining>(
        *store_, *authority_, *proxies_,
        [this](const std::string& node) { return discovery_->connected(node); }, "default");
    join_ = std::make_unique<JoinServer>(*joining_);
    records_ = std::make_unique<controlplane::analytics::RecordService>(
        *store_, "default", controlplane::analytics::by_certificate(*proxies_));
    grpc::ServerBuilder builder;
    DiscoveryServer::configure(builder);
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), credentials(), &port_);
    builder.RegisterService(discovery_->service());
    builder.RegisterService(join_.get());
    builder.RegisterService(records_.get());
    server_ = builder.BuildAndStart();
    SLUICE_CHECK(server_ != nullptr);
  }
  void stop() {
    if (server_ == nullptr) {
      return;
    }
    discovery_->stop();
    records_->stop();
    server_->Shutdown();
    server_.reset();
    records_.reset();
    join_.reset();
    joining_.reset();
    discovery_.reset();
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  DiscoveryServer& discovery() { return *discovery_; }
  controlplane::store::Store& store() { return *store_; }
  controlplane::pki::Proxies& proxies() { return *proxies_; }
  const controlplane::pki::Authority& authority() const { return *authority_; }

  std::string join_token() {
    return joining_->create_token({}, system_wall())->token();
  }
  std::int64_t put(const std::string& kind, const std::string& name,
                   const google::protobuf::MessageLite& spec) {
    return *store_->commit("default", {{kind, name, spec.SerializeAsString()}});
  }
  std::int64_t erase(const std::string& kind, const std::string& name) {
    return *store_->commit("default", {{kind, name, std::nullopt}});
  }
  admin::v1::RolloutStatus wait(std::int64_t revision, nanoseconds timeout = kPatience) {
    return discovery_->wait(revision, "default", timeout);
  }

 private:
  std::shared_ptr<grpc::ServerCredentials> credentials() {
    if (options_.insecure_plaintext) {
      return grpc::InsecureServerCredentials();
    }
    const auto pair = *authority_->server_certificate(
        controlplane::pki::default_server_names(), system_wall());
    grpc::SslServerCredentialsOptions ssl(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
    ssl.pem_root_certs = authority_->certificate_pem();
    ssl.pem_key_cert_pairs.push_back({pair.private_key_pem, pair.certificate_pem});
    return grpc::SslServerCredentials(ssl);
  }

  const DiscoveryOptions options_;
  controlplane::store::TestStore store_;
  std::unique_ptr<controlplane::pki::Authority> authority_;
  std::unique_ptr<controlplane::pki::Proxies> proxies_;
  std::unique_ptr<DiscoveryServer> discovery_;
  std::unique_ptr<controlplane::pki::Joining> joining_;
  std::unique_ptr<JoinServer> join_;
  std::unique_ptr<controlplane::analytics::RecordService> records_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

// A proxy's control thread; its workers are those of sync::TestProxy.
class Proxy {
 public:
  Proxy(ControlPlane& plane, std::string node_id, bool insecure = false)
      : Proxy(options(plane, std::move(node_id), insecure), plane.join_token()) {}

  Proxy(control::ControlOptions options, const std::string& join_token)
      : options_(std::move(options)) {
    if (options_.data_dir.empty()) {
      options_.data_dir = directory_.path();
    }
    if (!join_token.empty()) {
      options_.join_token_file = directory_.path() + "/token";
      std::ofstream(options_.join_token_file) << join_token << "\n";
    }
  }
  ~Proxy() { stop(); }

  static control::ControlOptions options(const ControlPlane& plane, std::string node_id,
                                         bool insecure = false) {
    control::ControlOptions options;
    options.addresses = {plane.address()};
    options.node_id = std::move(node_id);
    options.insecure_plaintext = insecure;
    options.software = "test";
    return options;
  }

  absl::Status start() {
    return run<absl::Status>([this] {
      proxy_.on_in_force = [this] { tell(); };
      client_.emplace(options_,
                      control::ControlEnvironment{
                          thread_.clock(), thread_.timers(), rng_,
                          [this](std::function<void()> work) { thread_.post(std::move(work)); },
                          [this](std::function<void()> work) { blocking_.post(std::move(work)); }},
                      proxy_.config, proxy_.identity, uploader_);
      return client_->start();
    });
  }
  void stop() {
    run<bool>([this] {
      client_.reset();
      return true;
    });
    blocking_.stop();
    thread_.stop();
  }

  template <class Result>
  Result run(std::function<Result()> work) {
    return thread_.run<Result>(std::move(work), Result());
  }
  sync::TestProxy& inside() { return proxy_; }  // only in run()
  const control::ControlOptions& control_options() const { return options_; }

  // Waits until `condition`, asked on the control thread, is true. False when patience is over.
  bool until(std::function<bool()> condition) {
    auto met = std::make_shared<std::promise<void>>();
    std::future<void> future = met->get_future();
    thread_.post([this, condition = std::move(condition), met] {
      waiting_.emplace_back(condition, met);
      poll();
    });
    return future.wait_for(kPatience) == std::future_status::ready;
  }
  bool until_connected() {
    return until([this] { return client_->state().connected && proxy_.config.state().synced; });
  }
  bool until_plan(const std::string& name, std::uint64_t messages) {
    return until([this, name, messages] {
      const auto plan = proxy_.in_force->find_plan(name);
      return plan != nullptr && plan->messages == messages;
    });
  }
  control::ControlPlaneClient::State state() {
    return run<control::ControlPlaneClient::State>([this] { return client_->state(); });
  }

  // "absent", the application, or the status code.
  std::string lookup(const std::string& token) {
    auto answer = std::make_shared<std::promise<std::string>>();
    std::future<std::string> future = answer->get_future();
    thread_.post([this, token, answer] {
      proxy_.identity.lookup(sha256(token), token, [answer](const auto& found) {
        answer->set_value(!found.ok() ? std::string(absl::StatusCodeToString(found.status().code()))
                          : found->token == nullptr  ? "absent"
                          : found->grants == nullptr ? "without grants"
                                                     : found->token->application);
      });
    });
    return future.wait_for(kPatience) == std::future_status::ready ? future.get() : "never";
  }

  void add_records(int count) {
    run<bool>([this, count] {
      for (int i = 0; i < count; ++i) {
        telemetry::v1::Record record;
        record.set_epoch(9);
        record.set_sequence(records_.size() + 1);
        record.set_connection_id("c" + std::to_string(records_.size()));
        record.mutable_end()->set_seconds(duration_cast<seconds>(
            system_wall().time_since_epoch()).count());
        records_.push_back(record);
      }
      uploader_.on_available();
      return true;
    });
  }
  std::uint64_t acknowledged_records() const { return acknowledged_records_; }

 private:
  // On the control thread, every few milliseconds while somebody waits.
  void poll() {
    tell();
    if (!waiting_.empty()) {
      thread_.timers().arm(poll_, thread_.clock().now() + milliseconds(5));
    }
  }
  void tell() {
    std::erase_if(waiting_, [](const auto& waiter) {
      if (waiter.first()) {
        waiter.second->set_value();
        return true;
      }
      return false;
    });
  }

  controlplane::pki::TemporaryDirectory directory_;
  control::ControlOptions options_;
  EventThread thread_;
  EventThread blocking_;
  Rng rng_{7};
  sync::TestProxy proxy_;
  std::vector<telemetry::v1::Record> records_;
  std::uint64_t acknowledged_records_ = 0;
  sync::RecordUploader uploader_{{
      [this](std::uint64_t after, std::size_t max) {
        const auto from = std::min<std::size_t>(after, records_.size());
        const auto to = std::min(records_.size(), from + max);
        return std::vector<telemetry::v1::Record>(
            records_.begin() + static_cast<std::ptrdiff_t>(from),
            records_.begin() + static_cast<std::ptrdiff_t>(to));
      },
      [this](std::uint64_t, std::uint64_t sequence) { acknowledged_records_ = sequence; },
      [](const std::string&) {},
  }};
  std::optional<control::ControlPlaneClient> client_;
  std::vector<std::pair<std::function<bool()>, std::shared_ptr<std::promise<void>>>> waiting_;
  Timer poll_{[](void* self) { static_cast<Proxy*>(self)->poll(); }, this};
};

inline v1::Plan plan(std::uint64_t messages) {
  v1::Plan plan;
  plan.set_messages(messages);
  return plan;
}

inline v1::Api api(const std::string& context, const std::string& plan = "Unlimited") {
  v1::Api api;
  api.set_context(context);
  api.set_version("v1");
  api.mutable_endpoints()->add_production("ws://127.0.0.1:9/");
  api.add_plans(plan);
  api.set_state(v1::Api::PUBLISHED);
  return api;
}

inline v1::Token token(const std::string& text, const std::string& application,
                       bool revoked = false) {
  v1::Token token;
  token.set_sha256(hex(sha256(text)));
  token.set_application(application);
  token.set_key_type(v1::PRODUCTION);
  token.set_revoked(revoked);
  return token;
}

}  // namespace sluice::planes
