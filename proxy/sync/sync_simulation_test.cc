// Both halves joined in memory: random changes, random order of deliveries between streams, cuts, a
// control thread that is slow. Checked after every step; each planted mistake must be found.
#include <gtest/gtest.h>

#include <deque>
#include <optional>

#include "proxy/base/log.h"
#include "proxy/base/rng.h"
#include "proxy/sync/delta_server.h"
#include "proxy/sync/test_proxy.h"
#include "proxy/sync/test_world.h"

namespace sluice::sync {
namespace {

using config::Kind;
using config::ResourceKey;
namespace v1 = sluice::config::v1;

enum class Plant {
  kNone,
  kAckBeforeInForce,   // the client answers what it has only received
  kNackAsAck,          // a refusal is told as acceptance
  kLostResource,       // a response loses a resource on its way
  kLostRemoval,        // or a removal
  kBreakBeforeMake,    // two responses change places
  kHeldBackGoodOnes,   // one bad resource takes the good ones of its response along
  kForgottenVersions,  // the server resends what did not change
  kStaleContent,       // a version goes out with older content
};

// What the world held, so that what a client has can be placed in time.
struct History {
  std::map<std::int64_t, std::string> versions;  // by revision; empty: absent

  bool allowed(std::int64_t from, const std::string& version) const {
    auto it = versions.upper_bound(from);
    if (it == versions.begin()) {
      if (version.empty()) {
        return true;
      }
    } else {
      --it;
    }
    for (; it != versions.end(); ++it) {
      if (it->second == version) {
        return true;
      }
    }
    return false;
  }
};

class Simulation {
 public:
  Simulation(std::uint64_t seed, Plant plant) : rng_(seed), plant_(plant) {
    proxy_.hold = true;
    connect();
  }

  // Empty: all went well.
  std::string run() {
    for (int step = 0; step < 400 && problem_.empty(); ++step) {
      const std::uint64_t dice = rng_.below(100);
      if (dice < 15) {
        change();
      } else if (dice < 17) {
        cut();
        connect();
      } else {
        deliver(static_cast<int>(rng_.below(4)));
      }
      check();
    }
    for (int quiet = 0; quiet < 3000 && problem_.empty() && deliver(quiet % 4); ++quiet) {
      check();
    }
    settle();
    if (problem_.empty()) {
      check_converged();
    }
    cut();
    return problem_;
  }

 private:
  void connect() {
    server_.emplace(world_.view(), revision_, DeltaServerStream::Options{});
    proxy_.config.on_connected(
        {}, [this](xds::DeltaDiscoveryRequest request) { up_.push_back(std::move(request)); },
        nullptr);
  }
  void cut() {
    proxy_.config.on_disconnected();
    up_.clear();
    down_.clear();
    server_.reset();
    unchanged_allowed_ = true;
  }

  // One event of the kind; true if anything is left to do.
  bool deliver(int kind) {
    if (kind == 0 && !up_.empty()) {
      xds::DeltaDiscoveryRequest request = std::move(up_.front());
      up_.pop_front();
      sabotage(request);
      fail_unless(server_->on_request(request).ok(), "the server refused a request");
    } else if (kind == 1) {
      if (auto response = server_->next()) {
        sabotage(*response);
        down_.push_back(*std::move(response));
        if (plant_ == Plant::kBreakBeforeMake && down_.size() >= 2) {
          std::swap(down_[down_.size() - 1], down_[down_.size() - 2]);
        }
        return true;
      }
    } else if (kind == 2 && !down_.empty()) {
      xds::DeltaDiscoveryResponse response = std::move(down_.front());
      down_.pop_front();
      if (plant_ == Plant::kAckBeforeInForce) {
        xds::DeltaDiscoveryRequest ack;
        ack.set_type_url(response.type_url());
        ack.set_response_nonce(response.nonce());
        up_.push_back(std::move(ack));
      }
      proxy_.config.on_response(std::move(response));
    } else if (kind == 3 && !proxy_.later.empty()) {
      auto work = std::move(proxy_.later.front());
      proxy_.later.pop_front();
      work();
    }
    return !up_.empty() || !down_.empty() || !proxy_.later.empty() || kind != 1;
  }
  void settle() {
    for (bool more = true; more && problem_.empty();) {
      more = false;
      for (int kind = 0; kind < 4; ++kind) {
        const std::size_t before = up_.size() + down_.size() + proxy_.later.size();
        deliver(kind);
        more = more || before > 0 || up_.size() + down_.size() + proxy_.later.size() > 0;
        check();
      }
    }
  }

  void sabotage(xds::DeltaDiscoveryRequest& request) {
    if (plant_ == Plant::kNackAsAck) {
      request.clear_error_detail();
    }
  }
  void sabotage(xds::DeltaDiscoveryResponse& response) {
    auto& resources = *response.mutable_resources();
    if (plant_ == Plant::kLostResource && resources.size() > 1) {
      resources.RemoveLast();
    } else if (plant_ == Plant::kLostRemoval && !response.removed_resources().empty()) {
      response.mutable_removed_resources()->RemoveLast();
    } else if (plant_ == Plant::kHeldBackGoodOnes) {
      const bool bad = std::ranges::any_of(
          resources, [](const xds::Resource& r) { return r.name().starts_with("bad"); });
      if (bad) {
        resources.DeleteSubrange(0, resources.size() - 1);
      }
    } else if (plant_ == Plant::kForgottenVersions && !last_.empty()) {
      const auto again = last_.find(response.type_url());
      const bool there = again != last_.end() &&
                         std::ranges::any_of(resources, [&](const xds::Resource& r) {
                           return r.name() == again->second.name();
                         });
      if (again != last_.end() && !there) {
        *resources.Add() = again->second;
      }
    } else if (plant_ == Plant::kStaleContent && !resources.empty()) {
      const auto older = last_.find(response.type_url());
      if (older != last_.end() && older->second.name() == resources[0].name()) {
        *resources[0].mutable_resource() = older->second.resource();
      }
    }
    if (!resources.empty()) {
      last_[response.type_url()] = resources[0];
    }
  }

  // ---- the world: whatever it holds is whole but for the APIs named bad-*
  void change() {
    ++revision_;
    std::vector<ResourceKey> changed;
    const std::uint64_t count = 1 + rng_.below(3);
    for (std::uint64_t i = 0; i < count; ++i) {
      change_one(changed);
    }
    std::vector<ResourceChange> changes;
    for (const ResourceKey& key : changed) {
      changes.push_back({config::type_url(key.kind), key.name});
    }
    server_->on_changes(revision_, changes);
  }
  void put(Kind kind, const std::string& name, const google::protobuf::MessageLite& message,
           std::vector<ResourceKey>& changed) {
    world_.put(config::type_url(kind), name, message);
    history_[{kind, name}].versions[revision_] = content_version(deterministic_bytes(message));
    content_[{kind, name}][content_version(deterministic_bytes(message))] =
        deterministic_bytes(message);
    changed.push_back({kind, name});
  }
  void erase(Kind kind, const std::string& name, std::vector<ResourceKey>& changed) {
    world_.erase(config::type_url(kind), name);
    history_[{kind, name}].versions[revision_] = "";
    changed.push_back({kind, name});
  }
  bool used(const std::string& target) const {
    return std::ranges::any_of(uses_, [&](const auto& entry) {
      return entry.second.first == target || entry.second.second == target;
    });
  }
  void change_one(std::vector<ResourceKey>& changed) {
    const std::string n = std::to_string(rng_.below(4));
    const std::uint64_t dice = rng_.below(10);
    if (dice < 2) {
      v1::Plan plan;
      plan.set_messages(1 + rng_.below(5));
      put(Kind::kPlan, "p" + n, plan, changed);
    } else if (dice < 4) {
      v1::Upstream upstream;
      upstream.add_endpoints("ws://127.0.0.1:9/" + std::to_string(rng_.below(5)));
      put(Kind::kUpstream, "u" + n, upstream, changed);
    } else if (dice < 5) {
      const std::string name = (rng_.below(2) == 0 ? "p" : "u") + n;
      const Kind kind = name[0] == 'p' ? Kind::kPlan : Kind::kUpstream;
      if (!used(name) && world_.all(config::type_url(kind)).contains(name)) {
        erase(kind, name, changed);
      }
    } else if (dice < 9) {
      change_api(n, changed);
    } else if (uses_.contains("a" + n)) {
      uses_.erase("a" + n);
      erase(Kind::kApi, "a" + n, changed);
    }
  }
  void change_api(const std::string& n, std::vector<ResourceKey>& changed) {
    const auto plans = world_.all(config::type_url(Kind::kPlan));
    const auto upstreams = world_.all(config::type_url(Kind::kUpstream));
    if (plans.empty() || upstreams.empty()) {
      return;
    }
    const auto pick = [this](const auto& map) {
      return std::next(map.begin(), static_cast<std::ptrdiff_t>(rng_.below(map.size())))->first;
    };
    v1::Api api;
    api.set_version("v1");
    api.set_state(v1::Api::PUBLISHED);
    if (rng_.below(5) == 0) {
      api.set_context("no-slash" + std::to_string(rng_.below(5)));
      put(Kind::kApi, "bad" + n, api, changed);
      return;
    }
    const std::string plan = pick(plans);
    const std::string upstream = pick(upstreams);
    api.set_context("/a" + n);
    api.add_plans(plan);
    api.mutable_endpoints()->add_production("upstream:" + upstream);
    uses_["a" + n] = {plan, upstream};
    put(Kind::kApi, "a" + n, api, changed);
  }

  // ---- what must hold
  void fail_unless(bool holds, const std::string& problem) {
    if (!holds && problem_.empty()) {
      problem_ = problem;
    }
  }
  std::string version_of(const ResourceKey& key) const {
    const auto it = proxy_.disk.find(key);
    return it == proxy_.disk.end() ? "" : it->second.version;
  }
  void check() {
    // Before it has asked for everything, a stream says nothing of what its client has.
    const bool asked = std::ranges::all_of(config::kCompiledKinds, [this](Kind kind) {
      return server_->requested(config::type_url(kind));
    });
    const std::int64_t acknowledged = asked ? server_->acknowledged_revision() : 0;
    std::set<std::string> refused;
    for (const Refusal& refusal : server_->refusals()) {
      refused.insert(refusal.name());
    }
    for (const config::Fault& fault : proxy_.config.refused()) {
      fail_unless(fault.name.starts_with("bad"), "a good resource was refused: " + fault.text());
    }
    for (const auto& [key, history] : history_) {
      const std::string version = version_of(key);
      fail_unless(refused.contains(key.name) || history.allowed(acknowledged, version),
                  "acknowledged, but not in force: " + key.name);
      const auto saved = proxy_.disk.find(key);
      fail_unless(saved == proxy_.disk.end() || content_.at(key)[version] == saved->second.bytes,
                  "a version with other content: " + key.name);
    }
    fail_unless(unchanged_allowed_ || proxy_.config.state().unchanged == 0,
                "resent although it is unchanged");
  }
  void check_converged() {
    for (const auto& [key, history] : history_) {
      const std::string wanted = history.versions.rbegin()->second;
      if (!key.name.starts_with("bad")) {
        fail_unless(version_of(key) == wanted, "did not converge: " + key.name);
      } else {
        const auto refusals = server_->refusals();
        const bool known = std::ranges::any_of(
            refusals, [&key = key](const Refusal& r) { return r.name() == key.name; });
        fail_unless(known && version_of(key).empty(), "a refusal is not known: " + key.name);
      }
    }
    fail_unless(server_->acknowledged_revision() == revision_, "not all is acknowledged");
    for (const auto& [name, ignored] : uses_) {
      fail_unless(proxy_.in_force->find_api(name) != nullptr, "not served: " + name);
    }
  }

  Rng rng_;
  const Plant plant_;
  TestWorld world_;
  TestProxy proxy_;
  std::int64_t revision_ = 1;
  std::optional<DeltaServerStream> server_;
  std::deque<xds::DeltaDiscoveryRequest> up_;
  std::deque<xds::DeltaDiscoveryResponse> down_;
  std::map<ResourceKey, History> history_;
  std::map<ResourceKey, std::map<std::string, std::string>> content_;  // by version
  std::map<std::string, std::pair<std::string, std::string>> uses_;     // plan, upstream of APIs
  std::map<std::string, xds::Resource> last_;
  bool unchanged_allowed_ = false;
  std::string problem_;
};

class Quiet {
 public:
  Quiet() : before_(log::level()) { log::set_level(log::Level::kError); }
  ~Quiet() { log::set_level(before_); }

 private:
  const log::Level before_;
};

TEST(SyncSimulation, ConvergesAndNeverAcknowledgesWhatIsNotInForce) {
  const Quiet quiet;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    const std::string problem = Simulation(seed, Plant::kNone).run();
    ASSERT_EQ(problem, "") << "seed " << seed;
  }
}

TEST(SyncSimulation, FindsEveryPlantedMistake) {
  const Quiet quiet;
  for (const Plant plant :
       {Plant::kAckBeforeInForce, Plant::kNackAsAck, Plant::kLostResource, Plant::kLostRemoval,
        Plant::kBreakBeforeMake, Plant::kHeldBackGoodOnes, Plant::kForgottenVersions,
        Plant::kStaleContent}) {
    std::uint64_t seed = 1;
    while (seed <= 200 && Simulation(seed, plant).run().empty()) {
      ++seed;
    }
    EXPECT_LE(seed, 200U) << "plant " << static_cast<int>(plant) << " was not found";
  }
}

}  // namespace
}  // namespace sluice::sync
