#include "proxy/managed.h"

#include <fmt/core.h>

#include <cstdio>
#include <utility>

#include "proxy/base/log.h"
#include "proxy/control/control_plane_client.h"
#include "proxy/process.h"
#include "proxy/sync/record_wire.h"
#include "proxy/telemetry/spool.h"

namespace sluice {

Managed::Managed(Parts& parts, WorkThread& disk)
    : parts_(parts),
      disk_(disk),
      config_(config_environment()),
      identities_(identity_environment()),
      uploader_(upload_environment()) {}

Managed::~Managed() = default;

sync::ConfigClient::Environment Managed::config_environment() {
  sync::ConfigClient::Environment environment;
  environment.compile = [this](std::shared_ptr<const config::Snapshot> base,
                               const config::Delta& delta) {
    return config::compile(std::move(base), delta, parts_.compile_context());
  };
  environment.publish = [this](std::shared_ptr<const config::Snapshot> snapshot,
                               std::vector<model::Subject> changed, std::function<void()> done) {
    parts_.snapshot = snapshot;
    parts_.resolver.allow_local(snapshot->allows_local_endpoints());
    worker::Publication publication{std::move(snapshot), std::move(changed)};
    return parts_.workers->publish(std::move(publication), std::move(done));
  };
  environment.persist = [this](config::Delta delta, std::function<void(absl::Status)> done) {
    persist(std::move(delta), std::move(done));
  };
  return environment;
}

sync::IdentityClient::Environment Managed::identity_environment() {
  sync::IdentityClient::Environment environment{parts_.loop.clock(), parts_.loop.timers(),
                                                parts_.directory, nullptr, nullptr};
  environment.recheck = [this](std::vector<model::Subject> changed, std::function<void()> done) {
    parts_.workers->recheck(std::move(changed), std::move(done));
  };
  environment.persist = [this](config::Delta delta, std::function<void(absl::Status)> done) {
    persist(std::move(delta), std::move(done));
  };
  return environment;
}

sync::RecordUploader::Environment Managed::upload_environment() {
  auto* spool = static_cast<telemetry::Spool*>(parts_.sink.get());  // a managed proxy's sink
  sync::RecordUploader::Environment environment;
  environment.read = [spool](std::uint64_t after, std::size_t records_max) {
    std::vector<sync::records::Record> out;
    for (const telemetry::NumberedRecord& record : spool->read(after, records_max)) {
      out.push_back(sync::to_wire(record));
    }
    return out;
  };
  environment.acknowledged = [spool](std::uint64_t epoch, std::uint64_t sequence) {
    spool->acknowledge(epoch, sequence);
  };
  environment.close = [this](const std::string& connection) {
    parts_.workers->close_connection(connection, [connection](bool found) {
      log::info("an operator closes connection {} by the control plane{}", connection,
                found ? "" : ": it is not open here");
    });
  };
  return environment;
}

void Managed::persist(config::Delta delta, std::function<void(absl::Status)> done) {
  disk_.post([this, delta = std::move(delta), done = std::move(done)] {
    const absl::Status status = last_good_->save(delta);
    parts_.loop.post([done, status] { done(status); });
  });
}

absl::Status Managed::start() {
  SLUICE_ASSIGN_OR_RETURN(last_good_, config::LastGood::open(parts_.options.data_dir));
  SLUICE_ASSIGN_OR_RETURN(config::LastGood::Content content, last_good_->load());
  if (!content.config.empty()) {
    identities_.restore(content.identities);
    const std::vector<config::Fault> faults = config_.restore(content.config, [] {
      log::info("last-good configuration in force; connecting to the control plane");
    });
    for (const config::Fault& fault : faults) {
      log::warning("last-good: {}", fault.text());
    }
  }
  return connect();
}

absl::Status Managed::connect() {
  const Options& options = parts_.options;
  control::ControlOptions to;
  to.addresses = options.control;
  to.node_id = options.node_id;
  to.data_dir = options.data_dir;
  to.join_token_file = options.join_token_file;
  to.tls_cert_file = options.tls_cert;
  to.tls_key_file = options.tls_key;
  to.tls_ca_file = options.tls_ca;
  to.insecure_plaintext = options.insecure_plaintext;
  to.software = "sluice-proxy " SLUICE_VERSION;
  if (options.insecure_plaintext) {
    to.warnings.emplace_back("speaks to the control plane in plain text (--insecure-plaintext)");
  }
  control::ControlEnvironment environment{
      parts_.loop.clock(), parts_.loop.timers(), parts_.loop.rng(),
      [this](std::function<void()> work) { parts_.loop.post(std::move(work)); },
      [this](std::function<void()> work) { keys_.post(std::move(work)); }};
  client_ = std::make_unique<control::ControlPlaneClient>(std::move(to), std::move(environment),
                                                          config_, identities_, uploader_);
  return client_->start();
}

void Managed::stop() {
  if (client_ != nullptr) {
    client_->stop();
  }
}

std::function<void(Sha256, std::string, std::function<void(absl::StatusOr<model::Identity>)>)>
Managed::token_asker() {
  return [this](Sha256 hash, std::string client,
                std::function<void(absl::StatusOr<model::Identity>)> answer) {
    parts_.loop.post([this, hash, client = std::move(client), answer = std::move(answer)] {
      identities_.lookup(hash, client, answer);
    });
  };
}

void Managed::records_available() { uploader_.on_available(); }

std::string Managed::waiting_for() const {
  const std::string problem = client_ == nullptr ? "" : client_->state().problem;
  return problem.empty() ? "waiting for the control plane's first configuration"
                         : "no configuration yet: " + problem;
}

int Managed::validate(const Options& options) {
  auto opened = config::LastGood::open(options.data_dir);
  if (!opened.ok()) {
    std::fprintf(stderr, "%s\n", std::string(message_of(opened.status())).c_str());
    return 1;
  }
  const auto content = (*opened)->load();
  if (!content.ok()) {
    std::fprintf(stderr, "%s\n", std::string(message_of(content.status())).c_str());
    return 1;
  }
  Parts parts(options);
  const config::CompileResult result =
      config::compile(config::Snapshot::empty(), content->config, parts.compile_context());
  for (const config::Fault& fault : result.faults) {
    std::fprintf(stderr, "%s\n", fault.text().c_str());
  }
  std::printf("%s: %zu resources, %zu refused\n", (*opened)->path().c_str(),
              content->config.upserts.size(), result.faults.size());
  return result.faults.empty() ? 0 : 1;
}

}  // namespace sluice
