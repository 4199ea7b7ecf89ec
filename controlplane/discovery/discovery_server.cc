#include "controlplane/discovery/discovery_server.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <future>
#include <utility>

#include "controlplane/discovery/event_thread.h"
#include "controlplane/discovery/hub.h"
#include "controlplane/discovery/server_stream.h"
#include "envoy/service/discovery/v3/discovery.grpc.pb.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/sync/backoff.h"

namespace sluice::controlplane::discovery {

namespace {

constexpr int kStreamsMax = 100'000;  // of one connection

class AdsService final
    : public ::envoy::service::discovery::v3::AggregatedDiscoveryService::CallbackService {
 public:
  explicit AdsService(StreamContext& shared) : shared_(shared) {}

  // Each deletes itself.
  grpc::ServerBidiReactor<sync::xds::DiscoveryRequest, sync::xds::DiscoveryResponse>*
  StreamAggregatedResources(grpc::CallbackServerContext* context) override {
    return new ServerStream<StateOfTheWorld>(shared_, context);
  }
  grpc::ServerBidiReactor<sync::xds::DeltaDiscoveryRequest, sync::xds::DeltaDiscoveryResponse>*
  DeltaAggregatedResources(grpc::CallbackServerContext* context) override {
    return new ServerStream<Delta>(shared_, context);
  }

 private:
  StreamContext& shared_;
};

}  // namespace

grpc::Status to_grpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(message_of(status))};
}

Client client_of(const grpc::CallbackServerContext& context) {
  Client client;
  client.address = context.peer();
  for (const std::string_view scheme : {"ipv4:", "ipv6:"}) {
    if (client.address.starts_with(scheme)) {
      client.address.erase(0, scheme.size());
    }
  }
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  if (auth != nullptr && auth->IsPeerAuthenticated()) {
    const std::vector<grpc::string_ref> pem = auth->FindPropertyValues("x509_pem_cert");
    if (!pem.empty()) {
      client.certificate_pem.assign(pem[0].data(), pem[0].size());
    }
  }
  return client;
}

struct DiscoveryServer::Impl {
  Impl(store::Store& store, pki::Proxies* proxies, DiscoveryOptions given)
      : options(std::move(given)),
        rng(options.seed),
        hub(store, proxies, options, thread),
        shared{hub, thread, counters, options.identifier, [this] { return stream_age(); }},
        service(shared) {}

  nanoseconds stream_age() {
    return options.stream_age_max > nanoseconds::zero() ? rng.jitter(options.stream_age_max, 0.1)
                                                        : sync::stream_age(rng);
  }

  DiscoveryOptions options;
  Rng rng;
  StreamCounters counters;
  EventThread thread;
  Hub hub;
  StreamContext shared;
  AdsService service;
  bool started = false;
};

DiscoveryServer::DiscoveryServer(store::Store& store, pki::Proxies* proxies,
                                 DiscoveryOptions options)
    : impl_(std::make_unique<Impl>(store, proxies, std::move(options))) {
  SLUICE_CHECK(proxies != nullptr || impl_->options.insecure_plaintext);
}

DiscoveryServer::~DiscoveryServer() { stop(); }

absl::Status DiscoveryServer::start() {
  if (impl_->options.insecure_plaintext) {
    log::warning("discovery is in plain text: the names of proxies are believed");
  }
  SLUICE_RETURN_IF_ERROR(impl_->hub.start());
  impl_->started = true;
  return absl::OkStatus();
}

void DiscoveryServer::stop() {
  if (!std::exchange(impl_->started, false)) {
    return;
  }
  impl_->hub.stop_following();
  std::promise<void> gone;
  impl_->thread.post([this, &gone] {
    StreamContext& shared = impl_->shared;
    shared.stopping = true;  // new ones are refused
    shared.none_left = [&gone] { gone.set_value(); };
    const std::set<AdsStream*> open = shared.all;
    for (AdsStream* stream : open) {
      stream->finish(unavailable("this control plane is stopping"), true);
    }
    if (open.empty()) {
      std::exchange(shared.none_left, [] {})();
    }
  });
  gone.get_future().wait();
  impl_->thread.stop();
}

grpc::Service* DiscoveryServer::service() { return &impl_->service; }

void DiscoveryServer::configure(grpc::ServerBuilder& builder) {
  constexpr auto ms = [](nanoseconds time) {
    return static_cast<int>(duration_cast<milliseconds>(time).count());
  };
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits::kDiscoveryMessageBytesMax));
  builder.SetMaxSendMessageSize(static_cast<int>(limits::kDiscoveryMessageBytesMax));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsMax);
  // A proxy that vanished is told from a quiet one; and proxies may ask as often as that.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, ms(limits::kKeepaliveInterval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ms(limits::kKeepaliveTimeout));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             ms(limits::kKeepaliveInterval) / 2);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
}

admin::v1::RolloutStatus DiscoveryServer::rollout(std::int64_t revision, const std::string& group) {
  return impl_->thread.run<admin::v1::RolloutStatus>(
      [this, revision, group] { return impl_->hub.rollout(revision, group); }, {});
}

void DiscoveryServer::wait(std::int64_t revision, std::string group, nanoseconds timeout,
                           std::function<void(admin::v1::RolloutStatus)> answer) {
  const bool posted = impl_->thread.post([this, revision, group, timeout, answer]() mutable {
    impl_->hub.wait(revision, std::move(group), timeout, std::move(answer));
  });
  if (!posted) {
    answer({});
  }
}

admin::v1::RolloutStatus DiscoveryServer::wait(std::int64_t revision, const std::string& group,
                                               nanoseconds timeout) {
  auto promise = std::make_shared<std::promise<admin::v1::RolloutStatus>>();
  std::future<admin::v1::RolloutStatus> future = promise->get_future();
  wait(revision, group, timeout, [promise](admin::v1::RolloutStatus status) {
    promise->set_value(std::move(status));
  });
  return future.get();
}

std::vector<admin::v1::Proxy> DiscoveryServer::list_proxies(const std::string& group) {
  return impl_->thread.run<std::vector<admin::v1::Proxy>>(
      [this, group] { return impl_->hub.list_proxies(group); }, {});
}

bool DiscoveryServer::connected(const std::string& node_id) const {
  return impl_->hub.connected(node_id);
}

void DiscoveryServer::disconnect(const std::string& node_id) {
  impl_->thread.post([this, node_id] { impl_->hub.disconnect(node_id); });
}

DiscoveryServer::Metrics DiscoveryServer::metrics() const {
  const StreamCounters& counters = impl_->counters;
  return {counters.open,   impl_->hub.sessions_connected(), counters.responses,
          counters.acks,   counters.nacks,                  counters.refused,
          impl_->hub.feed_failures(), impl_->hub.revision()};
}

}  // namespace sluice::controlplane::discovery
