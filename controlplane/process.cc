#include "controlplane/process.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/analytics/identify.h"
#include "controlplane/analytics/record_service.h"
#include "controlplane/api/grpc_api.h"
#include "controlplane/api/services.h"
#include "controlplane/discovery/discovery_server.h"
#include "controlplane/first_start.h"
#include "controlplane/grpc_metrics.h"
#include "controlplane/http/door.h"
#include "controlplane/pki/files.h"
#include "controlplane/store/sqlite_store.h"
#include "filters/all.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/base/rng.h"

namespace sluice::controlplane {
namespace {

constexpr char kOrganisation[] = "default";
constexpr char kProxyAdmin[] = "127.0.0.1:9901";
constexpr std::chrono::seconds kGrpcEndTime{3};
constexpr unsigned kGrpcFilesSeconds = 1;
constexpr timespec kRenewalCheck{.tv_sec = 3600, .tv_nsec = 0};

std::string database_file(const Options& options) { return options.data_dir + "/control.db"; }

// How the port may be named as a backend, by which a request through a proxy would come from
// within: nobody may.
void add_own_address(std::vector<std::string>& own, const Address& address) {
  if (address.port == 0) {
    return;  // known once it is taken
  }
  own.push_back(address.text());
  if (address.ip == "0.0.0.0" || address.ip == "::") {
    own.push_back(Address{"127.0.0.1", address.port}.text());
    own.push_back(Address{"::1", address.port}.text());
  }
}

std::vector<std::string> own_addresses(const Options& options) {
  std::vector<std::string> own = {kProxyAdmin};
  add_own_address(own, options.http);
  add_own_address(own, options.grpc);
  if (options.open) {
    add_own_address(own, *options.open);
  }
  return own;
}

// What clients may call the ports by, as far as we can know.
std::vector<std::string> server_names(const Options& options) {
  std::vector<std::string> names = pki::default_server_names();
  std::vector<Address> ports = {options.http, options.grpc};
  if (options.open) {
    ports.push_back(*options.open);
  }
  for (const Address& address : ports) {
    const bool known = address.ip == "0.0.0.0" || address.ip == "::" ||
                       std::find(names.begin(), names.end(), address.ip) != names.end();
    if (!known) {
      names.push_back(address.ip);
    }
  }
  return names;
}

std::vector<std::string> plaintext_warnings(const Options& options) {
  std::vector<std::string> warnings;
  const auto look_at = [&](const char* name, const Address& address) {
    if (options.insecure_plaintext && !address.loopback()) {
      warnings.push_back(
          fmt::format("the control plane's port {} speaks plain text on {} (--insecure-plaintext)",
                      name, address.text()));
    }
  };
  look_at("door", options.http);
  look_at("grpc", options.grpc);
  if (options.open) {
    look_at("public", *options.open);
  }
  return warnings;
}

// Everything that runs, in the order in which it is made; it goes in the reverse order.
class Process {
 public:
  explicit Process(const Options& options) : options_(options) {}
  ~Process() { stop(); }

  absl::Status start();
  // Both ports' certificates anew: files replaced, or our own near its end.
  absl::Status reload();
  // The same where our own is near its end, and only then.
  void renew();
  void stop();

 private:
  absl::Status open_data();
  absl::Status make_services();
  absl::Status start_grpc();
  absl::Status start_door();
  void add_metrics();
  absl::StatusOr<std::shared_ptr<const net::TlsServerContext>> door_tls();
  std::shared_ptr<grpc::ServerCredentials> grpc_credentials();

  const Options options_;
  std::optional<DataLock> lock_;               // first: nobody else writes what follows
  std::unique_ptr<store::Store> store_;        // everything else reads it
  std::unique_ptr<pki::Authority> authority_;  // certificates of both ports and of `wss`
  pki::KeyPair certificate_;                   // of our own authority
  std::unique_ptr<oauth::Users> users_;        // before anybody can log in
  std::unique_ptr<oauth::Tokens> tokens_;
  std::unique_ptr<oauth::Endpoints> oauth_;
  std::unique_ptr<pki::Proxies> proxies_;  // before any proxy can connect
  filter::FilterRegistry registry_;        // the proxies' own factories check each change
  std::unique_ptr<api::Editor> editor_;
  std::unique_ptr<discovery::DiscoveryServer> discovery_;  // after the first resources are there
  std::unique_ptr<pki::Joining> joining_;                  // asks discovery who is connected
  std::optional<api::Services> services_;
  std::unique_ptr<api::ServiceTable> table_;  // complete before any port opens
  telemetry::Metrics metrics_;
  GrpcMetrics grpc_metrics_{metrics_};
  std::optional<http::StaticFiles> portal_;
  std::unique_ptr<http::Door> door_;        // destroyed after the pool, whose calls post to it
  std::unique_ptr<api::HandlerPool> pool_;  // serves both ports
  std::unique_ptr<api::GrpcApi> grpc_api_;
  std::unique_ptr<analytics::RecordService> records_;
  std::unique_ptr<grpc::Server> grpc_;  // opens when all behind it is there
  int grpc_port_ = 0;
};

absl::Status Process::start() {
  SLUICE_RETURN_IF_ERROR(open_data());      // lock, store, certificates
  SLUICE_RETURN_IF_ERROR(make_services());  // what both ports carry
  SLUICE_RETURN_IF_ERROR(start_grpc());     // proxies may come ...
  SLUICE_RETURN_IF_ERROR(start_door());     // ... before people, who would wait for their rollouts
  const std::vector<std::uint16_t> ports = door_->ports();
  std::vector<std::pair<const char*, Address>> bound = {{"door", {options_.http.ip, ports[0]}}};
  if (options_.open) {
    bound.push_back({"public", {options_.open->ip, ports[1]}});
  }
  // Last: who reads the log knows all of them then.
  bound.push_back({"grpc", {options_.grpc.ip, static_cast<std::uint16_t>(grpc_port_)}});
  std::vector<std::string> own;
  for (const auto& [name, address] : bound) {
    add_own_address(own, address);
  }
  editor_->add_own_addresses(std::move(own));
  for (const auto& [name, address] : bound) {
    log::info("listening {} {}", name, address.text());
  }
  return absl::OkStatus();
}

absl::Status Process::open_data() {
  SLUICE_ASSIGN_OR_RETURN(DataLock lock, DataLock::take(options_.data_dir));
  lock_.emplace(std::move(lock));
  store::SqliteOptions sqlite;
  sqlite.path = database_file(options_);
  SLUICE_ASSIGN_OR_RETURN(store_, store::open_sqlite(std::move(sqlite)));
  SLUICE_ASSIGN_OR_RETURN(authority_,
                          pki::Authority::open(options_.data_dir + "/tls", system_wall()));
  SLUICE_ASSIGN_OR_RETURN(certificate_,
                          authority_->server_certificate(server_names(options_), system_wall()));
  return absl::OkStatus();
}

absl::Status Process::make_services() {
  users_ = std::make_unique<oauth::Users>(*store_, kOrganisation,
                                          admin_password_file(options_.data_dir));
  tokens_ = std::make_unique<oauth::Tokens>(*store_, kOrganisation);
  oauth_ = std::make_unique<oauth::Endpoints>(*tokens_);
  SLUICE_ASSIGN_OR_RETURN(proxies_, pki::Proxies::open(*store_, kOrganisation));
  filters::add_all_to(registry_);
  SLUICE_ASSIGN_OR_RETURN(editor_, api::Editor::open({.store = *store_,
                                                      .registry = registry_,
                                                      .organisation = kOrganisation,
                                                      .own_addresses = own_addresses(options_)}));
  SLUICE_RETURN_IF_ERROR(prepare_resources(*editor_, *authority_, system_wall()));
  SLUICE_RETURN_IF_ERROR(prepare_admin(*store_, options_.data_dir));
  discovery::DiscoveryOptions discovery;
  discovery.insecure_plaintext = options_.insecure_plaintext;
  discovery.seed = system_seed();
  discovery_ =
      std::make_unique<discovery::DiscoveryServer>(*store_, proxies_.get(), std::move(discovery));
  SLUICE_RETURN_IF_ERROR(discovery_->start());
  joining_ = std::make_unique<pki::Joining>(
      *store_, *authority_, *proxies_,
      [this](const std::string& node) { return discovery_->connected(node); }, kOrganisation);
  const std::vector<std::string> warnings = plaintext_warnings(options_);
  for (const std::string& warning : warnings) {
    log::warning("{}", warning);
  }
  services_.emplace(api::Services{.store = *store_,
                                  .editor = *editor_,
                                  .users = *users_,
                                  .tokens = *tokens_,
                                  .proxies = *proxies_,
                                  .joining = *joining_,
                                  .rollouts = api::rollouts_of(*discovery_),
                                  .close_connection =
                                      [this](const std::string& proxy, const std::string& id) {
                                        return records_->close_connection(proxy, id);
                                      },
                                  .organisation = kOrganisation,
                                  .warnings = warnings});
  table_ = api::make_service_table(*services_);
  pool_ = std::make_unique<api::HandlerPool>();
  return absl::OkStatus();
}

std::shared_ptr<grpc::ServerCredentials> Process::grpc_credentials() {
  if (options_.insecure_plaintext) {
    return grpc::InsecureServerCredentials();
  }
  // Looks at the files again every second, so that a renewed certificate is served without a
  // restart; the two files of the authority hold what certificate_ holds.
  const std::string tls = options_.data_dir + "/tls";
  grpc::experimental::TlsServerCredentialsOptions files(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          tls + "/server-key.pem", tls + "/server.pem", tls + "/ca.pem", kGrpcFilesSeconds));
  files.watch_root_certs();
  files.watch_identity_key_cert_pairs();
  files.set_cert_request_type(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(files);
}

absl::Status Process::start_grpc() {
  // gRPC's own failure says nothing of the reason.
  if (const auto free = net::probe_port(options_.grpc.ip, options_.grpc.port); !free.ok()) {
    return absl::Status(free.status().code(),
                        to_absl(fmt::format("grpc: {}", message_of(free.status()))));
  }
  grpc_api_ = std::make_unique<api::GrpcApi>(
      *table_, *pool_,
      [this](const std::string& method, absl::StatusCode status, nanoseconds took) {
        grpc_metrics_.count(method, status, took);
      });
  records_ = std::make_unique<analytics::RecordService>(*store_, kOrganisation,
                                                        options_.insecure_plaintext
                                                            ? analytics::by_metadata()
                                                            : analytics::by_certificate(*proxies_));
  grpc::ServerBuilder builder;
  discovery::DiscoveryServer::configure(builder);
  builder.SetMaxReceiveMessageSize(limits::kDiscoveryMessageBytesMax);
  builder.SetMaxSendMessageSize(limits::kDiscoveryMessageBytesMax);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(options_.grpc.text(), grpc_credentials(), &grpc_port_);
  builder.RegisterService(discovery_->service());
  builder.RegisterService(records_.get());
  grpc_api_->register_with(builder);
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr || grpc_port_ == 0) {
    return unavailable(fmt::format("grpc: cannot listen on {}", options_.grpc.text()));
  }
  grpc_api_->started(*grpc_);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const net::TlsServerContext>> Process::door_tls() {
  if (options_.insecure_plaintext) {
    return std::shared_ptr<const net::TlsServerContext>();
  }
  if (options_.tls_cert.empty()) {
    return net::TlsServerContext::create(certificate_.certificate_pem,
                                         certificate_.private_key_pem);
  }
  SLUICE_ASSIGN_OR_RETURN(const std::string certificate, pki::read_file(options_.tls_cert));
  SLUICE_ASSIGN_OR_RETURN(const std::string key, pki::read_file(options_.tls_key));
  auto context = net::TlsServerContext::create(certificate, key);
  if (!context.ok()) {
    return invalid_argument(fmt::format("{} and {}: {}", options_.tls_cert, options_.tls_key,
                                        message_of(context.status())));
  }
  return context;
}

absl::Status Process::start_door() {
  add_metrics();
  if (!options_.portal.empty()) {
    SLUICE_ASSIGN_OR_RETURN(portal_, http::StaticFiles::load(options_.portal));
  }
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<const net::TlsServerContext> tls, door_tls());
  std::vector<http::Opening> openings;
  openings.push_back({"door", options_.http.ip, options_.http.port, tls, false});
  if (options_.open) {
    openings.push_back({"public", options_.open->ip, options_.open->port, tls, true});
  }
  http::Services services{.table = *table_,
                          .pool = *pool_,
                          .oauth = *oauth_,
                          .users = *users_,
                          .metrics = metrics_,
                          .ready = [this] { return store_->writable(); },
                          .ca_pem = authority_->certificate_pem(),
                          .portal = portal_ ? &*portal_ : nullptr};
  SLUICE_ASSIGN_OR_RETURN(door_, http::Door::start(std::move(services), openings));
  return absl::OkStatus();
}

void Process::add_metrics() {
  using Type = telemetry::Metrics::Type;
  telemetry::add_process_metrics(metrics_);
  const auto add = [this](Type type, const char* name, const char* help,
                          std::function<double()> value) {
    metrics_.collect_value(type, name, help, std::move(value));
  };
  add(Type::kGauge, "sluice_store_revision", "Newest revision: commits since the first start.",
      [this] { return static_cast<double>(store_->revision(kOrganisation)); });
  add(Type::kGauge, "sluice_store_writable", "1 unless the store cannot be written.",
      [this] { return store_->writable().ok() ? 1.0 : 0.0; });
  add(Type::kCounter, "sluice_tokens_issued_total", "Access tokens issued.",
      [this] { return static_cast<double>(tokens_->issued()); });
  add(Type::kCounter, "sluice_calls_refused_total", "Calls refused because too many are under way.",
      [this] { return static_cast<double>(pool_->refused()); });
  add(Type::kCounter, "sluice_logins_refused_total", "Logins refused after too many failures.",
      [this] { return static_cast<double>(users_->refused()); });
  add(Type::kCounter, "sluice_clients_refused_total",
      "Token requests refused after too many wrong secrets.",
      [this] { return static_cast<double>(oauth_->refused()); });
  const auto records = [&](Type type, const char* name, const char* help,
                           const std::atomic<std::uint64_t>& value) {
    add(type, name, help, [&value] { return static_cast<double>(value.load()); });
  };
  const analytics::RecordService::Stats& stats = records_->stats();
  records(Type::kGauge, "sluice_record_streams", "Record uploads that are open.", stats.streams);
  records(Type::kCounter, "sluice_records_stored_total",
          "Records stored, those that came again included.", stats.records);
  records(Type::kCounter, "sluice_record_failures_total",
          "Batches of records that could not be stored.", stats.failures);
  const auto discovery = [&](Type type, const char* name, const char* help, auto member) {
    add(type, name, help,
        [this, member] { return static_cast<double>(discovery_->metrics().*member); });
  };
  using Discovery = discovery::DiscoveryServer::Metrics;
  discovery(Type::kGauge, "sluice_discovery_streams", "Discovery streams that are open.",
            &Discovery::streams);
  discovery(Type::kGauge, "sluice_proxies_connected", "Proxies that are connected.",
            &Discovery::proxies);
  discovery(Type::kCounter, "sluice_discovery_responses_total", "Responses sent to proxies.",
            &Discovery::responses);
  discovery(Type::kCounter, "sluice_discovery_acks_total", "Responses that proxies put in force.",
            &Discovery::acks);
  discovery(Type::kCounter, "sluice_discovery_nacks_total", "Responses that proxies refused.",
            &Discovery::nacks);
  discovery(Type::kCounter, "sluice_discovery_streams_refused_total",
            "Discovery streams refused by certificate, node id or protocol.",
            &Discovery::refused_streams);
  discovery(Type::kGauge, "sluice_discovery_revision", "Revision that proxies are sent.",
            &Discovery::revision);
}

absl::Status Process::reload() {
  SLUICE_ASSIGN_OR_RETURN(certificate_,
                          authority_->server_certificate(server_names(options_), system_wall()));
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<const net::TlsServerContext> tls, door_tls());
  if (tls != nullptr) {
    door_->set_tls(tls);
  }
  return absl::OkStatus();
}

void Process::renew() {
  const std::string before = certificate_.certificate_pem;
  const absl::Status status = reload();
  if (!status.ok()) {
    log::error("certificates stay as they were: {}", message_of(status));
  } else if (certificate_.certificate_pem != before) {
    log::info("the server certificate was near its end and is made anew");
  }
}

void Process::stop() {
  if (door_ != nullptr) {
    door_->stop();  // no new calls of people
  }
  if (discovery_ != nullptr) {
    discovery_
        ->stop();  // ends the streams for which gRPC would wait, and those who wait for a rollout
  }
  if (records_ != nullptr) {
    records_->stop();
  }
  if (grpc_ != nullptr) {
    grpc_->Shutdown(std::chrono::system_clock::now() + kGrpcEndTime);
    grpc_->Wait();
  }
  grpc_.reset();     // before the services that it calls
  pool_.reset();     // the last calls end; they ask of the records, and post to the door
  records_.reset();  // what came in is stored
  grpc_api_.reset();
  door_.reset();
}

int failed(const absl::Status& status) {
  log::error("{}", message_of(status));
  return 1;
}

}  // namespace

int serve(const Options& options, const sigset_t& signals) {
  Process process(options);
  if (const absl::Status status = process.start(); !status.ok()) {
    return failed(status);
  }
  while (true) {
    const int signal = sigtimedwait(&signals, nullptr, &kRenewalCheck);
    if (signal < 0) {
      if (errno == EAGAIN) {
        process.renew();
      }
      continue;
    }
    if (signal != SIGHUP) {
      break;
    }
    const absl::Status status = process.reload();
    if (status.ok()) {
      log::info("certificates read again");
    } else {
      log::error("certificates stay as they were: {}", message_of(status));
    }
  }
  log::info("ending");
  process.stop();
  return 0;
}

int reset_admin_password(const Options& options) {
  const absl::StatusOr<DataLock> lock = DataLock::take(options.data_dir);
  if (!lock.ok()) {
    return failed(lock.status());
  }
  store::SqliteOptions sqlite;
  sqlite.path = database_file(options);
  absl::StatusOr<std::unique_ptr<store::Store>> store = store::open_sqlite(std::move(sqlite));
  if (!store.ok()) {
    return failed(store.status());
  }
  const absl::Status status = reset_admin_password(**store, options.data_dir);
  return status.ok() ? 0 : failed(status);
}

}  // namespace sluice::controlplane
