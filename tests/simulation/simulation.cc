#include "tests/simulation/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <span>

#include "tests/simulation/actions.h"
#include "tests/simulation/record_check.h"

namespace sluice::simulation {
namespace {

constexpr nanoseconds kStep = milliseconds(20);
// Longer waits are cut into pieces, so that promises about time are looked at.
constexpr nanoseconds kStepMax = milliseconds(200);
constexpr nanoseconds kRecorderTurn = milliseconds(100);

class Simulation {
 public:
  explicit Simulation(const Options& options);
  Outcome run();

 private:
  DiscoveryLink::Parts link_parts() {
    return {schedule_, chance_, world_, report_, control_plane_up_};
  }
  DiscoveryLink::Watch watch();
  Actions::Parts action_parts();

  void step();
  bool run_until(const std::function<bool()>& done, nanoseconds patience);
  void run_for(nanoseconds time) {
    run_until([] { return false; }, time);
  }
  void expect(std::string_view promise, const std::function<bool()>& done, nanoseconds patience);
  void record();
  void rest();
  void probe();
  void finish();

  Schedule schedule_{net::Loop::kManualMono};
  Chance chance_;
  Report report_;
  World world_;
  Talks talks_;
  Checks checks_;
  Backends backends_;
  bool control_plane_up_ = true;
  nanoseconds wall_jump_{};
  std::shared_ptr<net::PipeRules> rules_ = std::make_shared<net::PipeRules>();
  RecordStore store_;
  RealProxy proxy_;
  DiscoveryLink config_;
  DiscoveryLink identity_;
  RecordLink records_;
  Actions actions_;
};

Simulation::Simulation(const Options& options)
    : chance_(options.seed),
      report_(schedule_, options.trace),
      checks_({schedule_, world_, report_, talks_}),
      backends_({schedule_, chance_, checks_, talks_}),
      proxy_({schedule_, chance_, checks_, report_, backends_, *options.filters}),
      config_("config", link_parts(), proxy_.config_half(), watch()),
      identity_("identity", link_parts(), proxy_.identity_half(), watch()),
      records_(link_parts(), proxy_.sink(), store_),
      actions_(action_parts()) {
  constexpr std::size_t kChunks[] = {0, 0, 0, 200, 17, 3};
  rules_->chunk_bytes_max = chance_.pick(kChunks);
  checks_.set_worker(proxy_.worker());
  checks_.surroundings().identity_away = [this] {
    return identity_.connected() ? identity_.last_away() : schedule_.now();
  };
  backends_.set_loop(proxy_.worker().loop(), rules_);
  world_.on_commit = [this](std::int64_t revision, std::span<const sync::ResourceChange> changes) {
    config_.changed(revision, changes);
    identity_.changed(revision, changes);
  };
}

DiscoveryLink::Watch Simulation::watch() {
  DiscoveryLink::Watch watch;
  watch.delivered = [this](const xds::DeltaDiscoveryResponse& response) {
    checks_.delivered(response);
  };
  watch.answered = [this](const xds::DeltaDiscoveryResponse& response,
                          const xds::DeltaDiscoveryRequest& answer) {
    checks_.answered(response, answer);
  };
  return watch;
}

Actions::Parts Simulation::action_parts() {
  return {schedule_, chance_, world_,    report_,  checks_,           talks_,     backends_,
          proxy_,    config_, identity_, records_, control_plane_up_, wall_jump_, rules_};
}

// On to the next time at which something is due, on the grid of steps.
void Simulation::step() {
  const Mono next = std::min({schedule_.next(), proxy_.next(), schedule_.now() + kStepMax});
  const nanoseconds since = std::max(next - net::Loop::kManualMono, nanoseconds(0));
  const Mono grid = net::Loop::kManualMono + (since + kStep - nanoseconds(1)) / kStep * kStep;
  const Mono now = std::max(grid, schedule_.now() + kStep);
  schedule_.advance(now);
  proxy_.advance(now, net::Loop::kManualWall + (now - net::Loop::kManualMono) + wall_jump_);
  proxy_.settle();
  while (schedule_.run_one()) {
    if (chance_.percent(50)) {
      proxy_.settle();
    }
  }
  proxy_.settle();
  checks_.after_step();
}

bool Simulation::run_until(const std::function<bool()>& done, nanoseconds patience) {
  const Mono until = schedule_.now() + patience;
  while (!done()) {
    if (report_.failed() || schedule_.now() >= until) {
      return false;
    }
    step();
  }
  return true;
}

void Simulation::expect(std::string_view promise, const std::function<bool()>& done,
                        nanoseconds patience) {
  if (!run_until(done, patience) && !report_.failed()) {
    report_.broken(promise,
                   fmt::format("not within {} s", duration_cast<seconds>(patience).count()));
  }
}

void Simulation::record() {
  if (proxy_.record() > 0) {
    records_.available();
  }
  schedule_.after(kRecorderTurn, [this] { record(); });
}

void Simulation::rest() {
  report_.trace("rest");
  actions_.calm();
  expect(
      "the streams come to rest",
      [this] {
        return actions_.repaired() && config_.at_rest() && identity_.at_rest() && proxy_.at_rest();
      },
      seconds(180));
  backends_.reliable = true;  // chance fails no checks either
  expect(
      "endpoints are well again", [this] { return checks_.endpoints().all_well(); }, seconds(30));
  if (!report_.failed()) {
    checks_.at_rest();
    probe();
  }
  backends_.reliable = false;
}

void Simulation::probe() {
  const std::size_t before = talks_.size();
  actions_.open_probes();
  expect(
      "a good client is served",
      [this, before] {
        return std::all_of(talks_.begin() + static_cast<std::ptrdiff_t>(before), talks_.end(),
                           [](const auto& talk) { return talk->status != 0; });
      },
      seconds(10));
}

void Simulation::finish() {
  report_.trace("finish");
  actions_.close_clients();
  expect(
      "connections end",
      [this] {
        actions_.close_clients();  // those that were in their handshake
        return std::ranges::all_of(
                   talks_, [](const auto& talk) { return talk->state == Talk::State::kOver; }) &&
               proxy_.worker().live_connections() == 0;
      },
      seconds(240));
  run_for(kRecorderTurn * 3);
  expect(
      "what was held of upstreams is given back",
      [this] { return checks_.endpoints().nothing_held(); }, seconds(30));
  expect(
      "records arrive", [this] { return proxy_.sink().empty(); }, seconds(180));
  if (!report_.failed()) {
    check_records(store_.records(), talks_, proxy_.sink().dropped(), report_);
  }
}

Outcome Simulation::run() {
  config_.begin();
  identity_.begin();
  records_.begin();
  record();
  expect(
      "a configuration comes into force", [this] { return proxy_.config().state().synced; },
      seconds(60));
  for (const int active_ms : {5000, 4000}) {
    if (!report_.failed()) {
      actions_.begin();
      run_for(milliseconds(active_ms));
      rest();
    }
  }
  if (!report_.failed()) {
    finish();
  }
  Outcome outcome;
  outcome.violation = report_.violation();
  outcome.seconds = std::chrono::duration<double>(schedule_.now() - net::Loop::kManualMono).count();
  outcome.connections = talks_.size();
  for (const auto& talk : talks_) {
    outcome.messages += talk->up.messages + talk->down.messages;
  }
  outcome.records = store_.records().size();
  return outcome;
}

}  // namespace

Outcome simulate(const Options& options) { return Simulation(options).run(); }

}  // namespace sluice::simulation
