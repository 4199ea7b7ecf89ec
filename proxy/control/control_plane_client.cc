#include "proxy/control/control_plane_client.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "envoy/service/discovery/v3/discovery.grpc.pb.h"
#include "proxy/base/encoding.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/control/channel.h"
#include "proxy/control/client_stream.h"
#include "proxy/control/join.h"
#include "proxy/sync/backoff.h"
#include "sluice/telemetry/v1/telemetry.grpc.pb.h"

namespace sluice::control {

namespace {

namespace xds = ::envoy::service::discovery::v3;
namespace records = ::sluice::telemetry::v1;
using Node = ::envoy::config::core::v3::Node;

using DiscoveryStream = ClientStream<xds::DeltaDiscoveryRequest, xds::DeltaDiscoveryResponse>;
using RecordStream = ClientStream<records::UploadRequest, records::UploadResponse>;

constexpr nanoseconds kCertificateCheck = std::chrono::hours(1);
// A server that ends streams sooner is met with back-off.
constexpr nanoseconds kAgeMin = seconds(1);

void set_text(Node& node, const std::string& key, std::string_view text) {
  (*node.mutable_metadata()->mutable_fields())[key].set_string_value(std::string(text));
}

}  // namespace

struct ControlPlaneClient::Impl {
  Impl(ControlOptions control_options, ControlEnvironment control_environment,
       sync::ConfigClient& config_client, sync::IdentityClient& identity_client,
       sync::RecordUploader& record_uploader)
      : options(std::move(control_options)),
        environment(std::move(control_environment)),
        config(config_client),
        identity(identity_client),
        records(record_uploader),
        config_backoff(environment.rng),
        identity_backoff(environment.rng),
        records_backoff(environment.rng),
        instance(hex(random_bytes(8))) {}

  // ---- credentials
  absl::Status prepare();
  void connect();
  void begin_join();
  void check_certificate();
  void take(Credentials fresh);
  bool may_join_again() const;

  // ---- streams
  void open_config();
  void open_identity();
  void open_records();
  const std::shared_ptr<grpc::Channel>& present_channel();
  std::unique_ptr<DiscoveryStream> open_discovery(const std::string& name,
                                                  DiscoveryStream::Events events);
  void on_config_response(xds::DeltaDiscoveryResponse response);
  void on_config_done(const grpc::Status& status);
  // Whether a stream that ended came to its age: a new one may follow at once.
  bool aged(const grpc::Status& status, Mono opened) const {
    return status.ok() && environment.clock.now() - opened >= kAgeMin;
  }
  void on_identity_done(const grpc::Status& status);
  void on_records_done(const grpc::Status& status);
  void retry(Timer& timer, sync::Backoff& backoff);
  void fail(std::string text);
  Node node(const std::string& stream) const;
  const std::string& address() const { return options.addresses[address_index]; }
  void stop();

  template <void (Impl::*Method)()>
  static void fire(void* context) {
    (static_cast<Impl*>(context)->*Method)();
  }

  ControlOptions options;
  ControlEnvironment environment;
  sync::ConfigClient& config;
  sync::IdentityClient& identity;
  sync::RecordUploader& records;
  sync::Backoff config_backoff;
  sync::Backoff identity_backoff;
  sync::Backoff records_backoff;
  const std::string instance;  // tells this process from another with the same node id

  std::optional<Credentials> credentials;
  CertificateLife life;
  double renew_at = 2.0 / 3;  // of the certificate's life
  bool asking = false;        // a join or a renewal is under way

  std::size_t address_index = 0;
  std::shared_ptr<grpc::Channel> channel;
  Outstanding outstanding;
  std::unique_ptr<DiscoveryStream> config_stream;
  std::unique_ptr<DiscoveryStream> identity_stream;
  std::unique_ptr<RecordStream> record_stream;
  Mono config_opened{};
  Mono identity_opened{};
  Mono records_opened{};
  Timer config_timer{&fire<&Impl::connect>, this};
  Timer identity_timer{&fire<&Impl::open_identity>, this};
  Timer records_timer{&fire<&Impl::open_records>, this};
  Timer certificate_timer{&fire<&Impl::check_certificate>, this};

  bool stopped = false;
  // False once stopped; control thread.
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  std::shared_ptr<CallGuard> guard = std::make_shared<CallGuard>();
  State state;
};

// ---- credentials

absl::Status ControlPlaneClient::Impl::prepare() {
  if (options.addresses.empty()) {
    return failed_precondition("there is no control plane: give --control HOST:PORT");
  }
  if (options.insecure_plaintext) {
    return absl::OkStatus();
  }
  if (!options.tls_cert_file.empty()) {
    Credentials files;
    SLUICE_ASSIGN_OR_RETURN(files.certificate_pem, read_text(options.tls_cert_file));
    SLUICE_ASSIGN_OR_RETURN(files.key_pem, read_text(options.tls_key_file));
    SLUICE_ASSIGN_OR_RETURN(files.ca_pem, read_text(options.tls_ca_file));
    SLUICE_ASSIGN_OR_RETURN(life, certificate_life(files.certificate_pem));
    credentials = std::move(files);
    return absl::OkStatus();
  }
  absl::StatusOr<Credentials> saved = load_credentials(options.data_dir);
  if (saved.ok()) {
    SLUICE_ASSIGN_OR_RETURN(life, certificate_life(saved->certificate_pem));
    credentials = *std::move(saved);
    return absl::OkStatus();
  }
  if (options.join_token_file.empty()) {
    return failed_precondition(
        fmt::format("this proxy has not joined yet ({}): make a token with `sluicectl join-token "
                    "create --group "
                    "{}`, write it to a file and start with --join-token-file FILE",
                    message_of(saved.status()), options.group));
  }
  SLUICE_ASSIGN_OR_RETURN(const std::string token, read_text(options.join_token_file));
  const absl::StatusOr<JoinToken> parsed = parse_join_token(token);
  if (!parsed.ok()) {
    return failed_precondition(
        fmt::format("{}: {}", options.join_token_file, message_of(parsed.status())));
  }
  options.group = parsed->group;
  return absl::OkStatus();
}

// Whether there is a token that the present certificate was not made from.
bool ControlPlaneClient::Impl::may_join_again() const {
  if (options.insecure_plaintext || options.join_token_file.empty() ||
      !options.tls_cert_file.empty()) {
    return false;
  }
  const absl::StatusOr<std::string> token = read_text(options.join_token_file);
  return token.ok() && parse_join_token(*token).ok() &&
         hex(sha256(*token)) != joined_with(options.data_dir);
}

void ControlPlaneClient::Impl::take(Credentials fresh) {
  credentials = std::move(fresh);
  if (const auto times = certificate_life(credentials->certificate_pem); times.ok()) {
    life = *times;
  }
  state.certificate_expires = life.ends;
  // Jittered, so that proxies that joined together do not renew together.
  renew_at = 2.0 / 3 + environment.rng.unit() / 20;
}

void ControlPlaneClient::Impl::begin_join() {
  if (std::exchange(asking, true)) {
    return;
  }
  log::info("joining the control plane at {} as {}", address(), options.node_id);
  auto work = [this, alive = alive, guard = guard, post = environment.post, options = options] {
    absl::StatusOr<Credentials> joined = not_found("");
    const absl::StatusOr<std::string> token = read_text(options.join_token_file);
    if (!token.ok()) {
      joined = token.status();
    } else {
      joined = join(options.addresses, *token, options.node_id, *guard);
      absl::Status saved;
      if (joined.ok()) {
        saved = save_credentials(options.data_dir, *joined);
        saved = saved.ok() ? save_joined_with(options.data_dir, *token) : saved;
      }
      if (!saved.ok()) {
        // Good for this process; the token is used up all the same.
        log::error("joined, but cannot keep the certificate: {}", message_of(saved));
      }
    }
    post([this, alive, joined = std::move(joined)]() mutable {
      if (!*alive) {
        return;
      }
      asking = false;
      if (!joined.ok()) {
        ++state.failures;
        fail(fmt::format("cannot join: {}{}", message_of(joined.status()),
                         absl::IsUnavailable(joined.status())
                             ? "; is sluice-control running there, and is that its gRPC port (its "
                               "log says `listening grpc ADDR:PORT`)?"
                             : ""));
        retry(config_timer, config_backoff);
        return;
      }
      log::info("joined");
      take(*std::move(joined));
      connect();
    });
  };
  environment.blocking(std::move(work));
}

void ControlPlaneClient::Impl::check_certificate() {
  environment.timers.arm(certificate_timer, environment.clock.now() + kCertificateCheck);
  if (options.insecure_plaintext || !options.tls_cert_file.empty() || !credentials ||
      !state.connected) {
    return;
  }
  const auto due =
      life.begins + nanoseconds(static_cast<std::int64_t>(
                        static_cast<double>((life.ends - life.begins).count()) * renew_at));
  if (environment.clock.wall() < due || std::exchange(asking, true)) {
    return;
  }
  auto work = [this, alive = alive, guard = guard, post = environment.post, options = options,
               present = *credentials, address = address()] {
    absl::StatusOr<Credentials> renewed = renew(address, present, options.node_id, false, *guard);
    if (renewed.ok()) {
      const absl::Status saved = save_credentials(options.data_dir, *renewed);
      if (!saved.ok()) {
        renewed = saved;
      }
    }
    post([this, alive, renewed = std::move(renewed)]() mutable {
      if (!*alive) {
        return;
      }
      asking = false;
      if (!renewed.ok()) {
        log::warning(
            "cannot renew the certificate, which expires in {} h; will try again: {}",
            duration_cast<std::chrono::hours>(life.ends - environment.clock.wall()).count(),
            message_of(renewed.status()));
        return;
      }
      ++state.renewals;
      take(*std::move(renewed));
      // The streams go on under the old one; new connections show the new one.
      channel.reset();
    });
  };
  environment.blocking(std::move(work));
}

// ---- streams

void ControlPlaneClient::Impl::connect() {
  if (config_stream != nullptr) {
    return;
  }
  if (!options.insecure_plaintext) {
    if (!options.tls_cert_file.empty()) {
      // Renewed by whoever gave the files.
      if (const absl::Status read = prepare(); !read.ok()) {
        fail(std::string(message_of(read)));
        retry(config_timer, config_backoff);
        return;
      }
    } else if (!credentials) {
      begin_join();
      return;
    }
    state.certificate_expires = life.ends;
    if (life.ends < environment.clock.wall()) {
      if (may_join_again()) {
        begin_join();
        return;
      }
      fail("the certificate of this proxy has expired: join again with a new token");
      retry(config_timer, config_backoff);
      return;
    }
  }
  open_config();
}

Node ControlPlaneClient::Impl::node(const std::string& stream) const {
  Node node;
  node.set_id(options.node_id);
  node.set_cluster(options.group);
  node.set_user_agent_name("sluice-proxy");
  node.set_user_agent_version(options.software);
  set_text(node, "instance", instance);
  set_text(node, "stream", stream);
  auto& warnings = (*node.mutable_metadata()->mutable_fields())["warnings"];
  warnings.mutable_list_value();
  for (const std::string& warning : options.warnings) {
    warnings.mutable_list_value()->add_values()->set_string_value(warning);
  }
  return node;
}

const std::shared_ptr<grpc::Channel>& ControlPlaneClient::Impl::present_channel() {
  if (channel == nullptr) {
    channel = make_channel(
        {address(), credentials ? &*credentials : nullptr, !options.tls_cert_file.empty()});
  }
  return channel;
}

std::unique_ptr<DiscoveryStream> ControlPlaneClient::Impl::open_discovery(
    const std::string& name, DiscoveryStream::Events events) {
  auto stream = std::make_unique<DiscoveryStream>(std::move(events), environment.post, outstanding);
  log::debug("opening the {} stream to {}", name, address());
  const auto stub = xds::AggregatedDiscoveryService::NewStub(present_channel());
  stub->async()->DeltaAggregatedResources(&stream->context(), stream.get());
  stream->start();
  return stream;
}

void ControlPlaneClient::Impl::open_config() {
  state.address = address();
  config_opened = environment.clock.now();
  config_stream = open_discovery(
      "configuration",
      {[this](xds::DeltaDiscoveryResponse response) { on_config_response(std::move(response)); },
       [] {}, [this](const grpc::Status& status) { on_config_done(status); }});
  config.on_connected(
      node("config"),
      [this](xds::DeltaDiscoveryRequest request) { config_stream->write(std::move(request)); },
      [this] { config_stream->read(); });
}

void ControlPlaneClient::Impl::on_config_response(xds::DeltaDiscoveryResponse response) {
  if (!state.connected) {
    state.connected = true;
    state.since = environment.clock.wall();
    state.problem.clear();
    ++state.connects;
    config_backoff.reset();
    log::info("configuration flows from the control plane at {}", address());
    open_identity();
    open_records();
    check_certificate();
  }
  config.on_response(std::move(response));
}

void ControlPlaneClient::Impl::on_config_done(const grpc::Status& status) {
  config.on_disconnected();
  config_stream.reset();
  const bool was_up = std::exchange(state.connected, false);
  const absl::Status error = to_status(status);
  if (error.ok()) {
    // Its age: the server wants us to come again.
    log::debug("the control plane at {} ended the configuration stream", address());
    if (was_up && aged(status, config_opened)) {
      open_config();
      return;
    }
  } else {
    ++state.failures;
    const bool refused = error.code() == absl::StatusCode::kPermissionDenied ||
                         error.code() == absl::StatusCode::kUnauthenticated;
    fail(fmt::format("{} {}: {}",
                     refused  ? "refused by"
                     : was_up ? "lost"
                              : "cannot reach",
                     "the control plane at " + address(), message_of(error)));
    channel.reset();
    if (!was_up) {
      address_index = (address_index + 1) % options.addresses.size();
    }
    if (refused && may_join_again()) {
      begin_join();
      return;
    }
  }
  retry(config_timer, config_backoff);
}

void ControlPlaneClient::Impl::open_identity() {
  if (identity_stream != nullptr || !state.connected) {
    return;
  }
  identity_opened = environment.clock.now();
  identity_stream = open_discovery(
      "identity", {[this](xds::DeltaDiscoveryResponse response) {
                     identity_backoff.reset();
                     identity.on_response(std::move(response));
                   },
                   [this] { identity.on_writable(); },
                   [this](const grpc::Status& status) { on_identity_done(status); }});
  identity.on_connected(
      node("identity"),
      [this](xds::DeltaDiscoveryRequest request) { identity_stream->write(std::move(request)); },
      [this] { identity_stream->read(); });
}

void ControlPlaneClient::Impl::on_identity_done(const grpc::Status& status) {
  const bool again = state.connected && aged(status, identity_opened);
  identity.on_disconnected(again);
  identity_stream.reset();
  if (again) {
    open_identity();
    return;
  }
  log::debug("the identity stream ended: {}", status.error_message());
  retry(identity_timer, identity_backoff);
}

void ControlPlaneClient::Impl::open_records() {
  if (record_stream != nullptr || !state.connected) {
    return;
  }
  RecordStream::Events events{[this](const records::UploadResponse& response) {
                                records_backoff.reset();
                                records.on_response(response);
                                record_stream->read();
                              },
                              [] {},
                              [this](const grpc::Status& status) { on_records_done(status); }};
  records_opened = environment.clock.now();
  record_stream = std::make_unique<RecordStream>(std::move(events), environment.post, outstanding);
  if (options.insecure_plaintext) {
    // Who we are stands in no message of this stream, and without TLS in no certificate either.
    record_stream->context().AddMetadata("sluice-node-id", options.node_id);
  }
  const auto stub = records::RecordService::NewStub(present_channel());
  stub->async()->Upload(&record_stream->context(), record_stream.get());
  record_stream->start();
  records.on_connected(
      [this](records::UploadRequest request) { record_stream->write(std::move(request)); });
}

void ControlPlaneClient::Impl::on_records_done(const grpc::Status& status) {
  records.on_disconnected();
  record_stream.reset();
  if (aged(status, records_opened)) {
    open_records();
    return;
  }
  if (state.connected) {
    log::warning("records cannot be delivered; they are kept and sent again: {}",
                 status.error_message());
  }
  retry(records_timer, records_backoff);
}

void ControlPlaneClient::Impl::retry(Timer& timer, sync::Backoff& backoff) {
  environment.timers.arm(timer, environment.clock.now() + backoff.next());
}

// Says it once, not at every attempt.
void ControlPlaneClient::Impl::fail(std::string text) {
  if (state.problem != text) {
    log::warning("{}", text);
    state.problem = std::move(text);
  }
}

void ControlPlaneClient::Impl::stop() {
  if (std::exchange(stopped, true)) {
    return;
  }
  *alive = false;
  guard->cancel();
  for (Timer* timer : {&config_timer, &identity_timer, &records_timer, &certificate_timer}) {
    timer->cancel();
  }
  const auto end = [](auto& stream) {
    if (stream != nullptr) {
      stream->detach();
      stream->cancel();
    }
  };
  end(config_stream);
  end(identity_stream);
  end(record_stream);
  outstanding.wait_for_none();
  // The machines may go on without us; they must not use what is gone.
  config.on_disconnected();
  identity.on_disconnected();
  records.on_disconnected();
  config_stream.reset();
  identity_stream.reset();
  record_stream.reset();
  channel.reset();
  state.connected = false;
}

// ----

ControlPlaneClient::ControlPlaneClient(ControlOptions options, ControlEnvironment environment,
                                       sync::ConfigClient& config, sync::IdentityClient& identity,
                                       sync::RecordUploader& records)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(environment), config, identity,
                                   records)) {}

ControlPlaneClient::~ControlPlaneClient() { stop(); }

absl::Status ControlPlaneClient::start() {
  SLUICE_RETURN_IF_ERROR(impl_->prepare());
  impl_->state.certificate_expires = impl_->life.ends;
  impl_->renew_at = 2.0 / 3 + impl_->environment.rng.unit() / 20;
  impl_->environment.timers.arm(impl_->certificate_timer,
                                impl_->environment.clock.now() + kCertificateCheck);
  impl_->connect();
  return absl::OkStatus();
}

void ControlPlaneClient::stop() { impl_->stop(); }

ControlPlaneClient::State ControlPlaneClient::state() const { return impl_->state; }

}  // namespace sluice::control
