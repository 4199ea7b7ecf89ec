#include "tests/simulation/real_proxy.h"

#include <utility>

namespace sluice::simulation {
namespace {

constexpr int kTurnsMax = 20'000;

std::unique_ptr<telemetry::AccountTable> make_accounts(Chance& chance) {
  // Now and then so few that some connections go without.
  const std::size_t slots = chance.percent(20) ? 6 : 64;
  return *telemetry::AccountTable::open_file("", slots, 0);
}

}  // namespace

RealProxy::RealProxy(const Parts& parts)
    : parts_(parts),
      accounts_(make_accounts(parts.chance)),
      sink_(parts.chance),
      recorder_(*accounts_, sink_),
      clock_(parts.schedule.now(), Wall()),
      timers_(parts.schedule.now()),
      to_worker_(parts.schedule, parts.chance),
      to_control_(parts.schedule, parts.chance),
      disk_(parts.schedule, parts.chance),
      config_(config_environment()),
      identity_(identity_environment()) {
  parts.checks.endpoints().set_states(upstreams_);
  worker::Worker::Options options;
  options.seed = parts.chance.rng().next();
  options.connections_max = 1000;
  options.clock = net::Loop::ClockMode::kManual;
  worker_ = std::make_unique<worker::Worker>(options, services());
  clock_ = worker_->loop().clock();
}

RealProxy::~RealProxy() { worker_->end_all(); }

worker::ProcessServices RealProxy::services() {
  worker::ProcessServices services;
  services.connect = [this](const net::ConnectTarget& target, Mono deadline) {
    return parts_.backends.connect(target.host, deadline);
  };
  services.upstreams = &upstreams_;
  services.directory = &directory_;
  services.ask_token = [this](Sha256 hash, std::string client,
                              std::function<void(absl::StatusOr<model::Identity>)> answer) {
    to_control_.post([this, hash, client = std::move(client), answer = std::move(answer)] {
      identity_.lookup(hash, client, answer);
    });
  };
  services.accounts = accounts_.get();
  services.recorder = &recorder_;
  return services;
}

sync::ConfigClient::Environment RealProxy::config_environment() {
  sync::ConfigClient::Environment environment;
  environment.compile = [this](std::shared_ptr<const config::Snapshot> base,
                               const config::Delta& delta) {
    const config::CompileContext context{
        .registry = parts_.filters,
        .shared = shared_,
        .mode = config::Mode::kPerResource,
        .allows_local = [](std::string_view) { return true; },
        .own_addresses = {},
        .listen = {},
    };
    return config::compile(std::move(base), delta, context);
  };
  environment.publish = [this](std::shared_ptr<const config::Snapshot> snapshot,
                               std::vector<model::Subject> changed, std::function<void()> done) {
    to_worker_.post([this, snapshot = std::move(snapshot), changed = std::move(changed),
                     done = std::move(done)] {
      worker_->post([this, snapshot, changed, done] {
        worker_->adopt({snapshot, changed}, {});
        parts_.checks.adopted();
        to_control_.post(done);
      });
    });
    return std::vector<config::Fault>();
  };
  environment.persist = [this](const config::Delta&, std::function<void(absl::Status)> done) {
    persist(std::move(done));
  };
  return environment;
}

sync::IdentityClient::Environment RealProxy::identity_environment() {
  sync::IdentityClient::Environment environment{clock_, timers_, directory_, nullptr, nullptr};
  environment.recheck = [this](std::vector<model::Subject> changed, std::function<void()> done) {
    to_worker_.post([this, changed = std::move(changed), done = std::move(done)] {
      worker_->post([this, changed, done] {
        worker_->recheck(changed);
        to_control_.post(done);
      });
    });
  };
  environment.persist = [this](const config::Delta&, std::function<void(absl::Status)> done) {
    persist(std::move(done));
  };
  return environment;
}

void RealProxy::persist(std::function<void(absl::Status)> done) {
  disk_.post([this, done = std::move(done)] {
    done(disk_full ? resource_exhausted("the simulated disk is full") : absl::OkStatus());
  });
}

DiscoveryLink::Client RealProxy::config_half() {
  return {
      [this](sync::SendDelta send, std::function<void()> read) {
        config_.on_connected({}, std::move(send), std::move(read));
      },
      [this](xds::DeltaDiscoveryResponse response) { config_.on_response(std::move(response)); },
      [this] { config_.on_disconnected(); }, [] {}};
}

DiscoveryLink::Client RealProxy::identity_half() {
  return {
      [this](sync::SendDelta send, std::function<void()> read) {
        identity_.on_connected({}, std::move(send), std::move(read));
      },
      [this](xds::DeltaDiscoveryResponse response) { identity_.on_response(std::move(response)); },
      [this] { identity_.on_disconnected(); }, [this] { identity_.on_writable(); }};
}

void RealProxy::advance(Mono mono, Wall wall) {
  clock_.tick(mono, wall);
  worker_->loop().advance(mono, wall);
  timers_.advance(mono);
}

void RealProxy::settle() {
  for (int turns = 0; turns < kTurnsMax; ++turns) {
    worker_->loop().turn(nanoseconds(0));
    if (worker_->loop().idle()) {
      return;
    }
  }
  parts_.report.broken("the loop comes to rest", "it turned without end");
}

Mono RealProxy::next() const { return std::min(worker_->loop().timers().next(), timers_.next()); }

}  // namespace sluice::simulation
