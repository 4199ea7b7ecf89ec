// Random deltas, applied one after the other, give what compiling the outcome at once gives; and
// the cost of a change does not grow with what it does not concern.
#include <malloc.h>

#include <ctime>
#include <map>

#include "proxy/base/rng.h"
#include "proxy/config/testing.h"

namespace sluice::config {
namespace {

using testing::published;

std::string pick(Rng& rng, const std::vector<std::string>& words) {
  return words[rng.below(words.size())];
}

// A resource of any kind; about one in five is bad in itself, more by what they refer to.
Resource random_resource(Rng& rng) {
  const std::string n = std::to_string(rng.below(4));
  const std::string port = std::to_string(1 + rng.below(3));
  switch (rng.below(8)) {
    case 0:
      return testing::upstream("u" + n, pick(rng, {"endpoints: 'ws://a/'", "endpoints: 'ws://b/'",
                                                   "", "endpoints: 'ws://169.254.1.1/'"}));
    case 1:
      return testing::plan("p" + n, pick(rng, {"messages: 1", "messages: 2", "on_limit: 'x'",
                                               "levels: 'api'", "levels: 'subscription'"}));
    case 2:
      return testing::listener(
          "l" + n, pick(rng, {"address: '127.0.0.1' port: " + port, "address: 'x'",
                              "address: '127.0.0.1' port: 9 filters { name: 'throttling' }"}));
    default:
      break;
  }
  std::string spec =
      published("/c" + std::to_string(rng.below(3)), "v" + std::to_string(rng.below(3)));
  spec += pick(rng, {"", "", "default_version: true ", "state: RETIRED ", "state: CREATED "});
  spec += pick(rng, {"", "plans: 'p1' ", "api_plan: 'p2' ", "plans: 'p3' api_plan: 'p0' "});
  spec += pick(rng, {"", "endpoints { sandbox: 'upstream:u1' } ",
                     "endpoints { sandbox: 'upstream:u2' } ", "endpoints { sandbox: 'bad' } "});
  spec += pick(rng, {"", "", "filters { name: 'throttling' } ", "filters { name: 'none' } "});
  return testing::api("a" + std::to_string(rng.below(6)), spec);
}

std::string of_cluster(const std::shared_ptr<const upstream::Cluster>& cluster) {
  return cluster == nullptr ? "-" : cluster->name + "=" + cluster->endpoints[0].url;
}

// All that can be seen of a snapshot.
std::string picture(const Snapshot& snapshot) {
  std::map<std::string, std::string> lines;
  snapshot.apis().visit([&](const std::shared_ptr<const CompiledApi>& api) {
    std::string line = hex(api->content) + of_cluster(api->production) + of_cluster(api->sandbox);
    for (const auto& listener : snapshot.listeners()) {
      for (const auto& entry : api->chain_for(*listener)->entries()) {
        bool own = false;
        for (const CompiledFilter& filter : api->filters) {
          own = own || filter.factory == entry.factory;
        }
        bool theirs = false;
        for (const CompiledFilter& filter : listener->filters) {
          theirs = theirs || filter.factory == entry.factory;
        }
        line += " " + listener->name + ":" + entry.name + (own ? "!" : theirs ? "" : "?");
      }
    }
    lines["api " + api->api.name] = line;
  });
  snapshot.plans().visit(
      [&](const auto& plan) { lines["plan " + plan->plan.name] = hex(plan->content); });
  snapshot.upstreams().visit(
      [&](const auto& u) { lines["upstream " + u->cluster->name] = hex(u->content); });
  for (const auto& listener : snapshot.listeners()) {
    lines["listener " + listener->name] = hex(listener->content);
  }
  for (const char* context : {"/c0", "/c1", "/c2"}) {
    for (const char* rest : {"", "/x", "/v0", "/v1/x", "/v2"}) {
      const std::string path = std::string(context) + rest;
      const RouteMatch match = snapshot.route(path);
      lines["route " + path] = match.api == nullptr ? "-" : match.api->api.name;
      EXPECT_TRUE(match.api == nullptr || match.api == snapshot.find_api(match.api->api.name));
    }
  }
  std::string text;
  for (const auto& [key, line] : lines) {
    text += key + " " + line + "\n";
  }
  return text;
}

class CompileProperty : public testing::CompileTest {
 protected:
  Delta random_delta(Rng& rng) {
    Delta delta;
    std::map<ResourceKey, bool> seen;
    for (std::uint64_t i = 1 + rng.below(4); i > 0; --i) {
      Resource resource = random_resource(rng);
      if (!seen.emplace(resource.key(), true).second) {
        continue;
      }
      if (rng.below(4) == 0) {
        delta.removals.push_back(resource.key());
      } else {
        delta.upserts.push_back(std::move(resource));
      }
    }
    return delta;
  }
};

TEST_F(CompileProperty, AppliedOneByOneIsCompiledAtOnce) {
  int refused = 0;
  int accepted = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Rng rng(seed);
    snapshot = nullptr;
    // All or nothing, as the control plane does: then the outcome is what was accepted.
    context.mode = Mode::kAllOrNothing;
    std::map<ResourceKey, Resource> wish;
    for (int step = 0; step < 30; ++step) {
      const Delta delta = random_delta(rng);
      const std::string before = snapshot == nullptr ? "" : picture(*snapshot);
      const auto old = snapshot;
      const CompileResult result = apply(delta);
      if (!result.faults.empty()) {
        ++refused;
        EXPECT_EQ(result.snapshot == old || old == nullptr, true);
        continue;
      }
      ++accepted;
      for (const Resource& resource : delta.upserts) {
        wish[resource.key()] = resource;
      }
      for (const ResourceKey& key : delta.removals) {
        wish.erase(key);
      }
    }
    Delta all;
    for (const auto& [key, resource] : wish) {
      all.upserts.push_back(resource);
    }
    const CompileResult fresh = compile(nullptr, all, context);
    EXPECT_TRUE(fresh.faults.empty()) << text(fresh.faults);
    ASSERT_EQ(picture(*fresh.snapshot), picture(*snapshot));
  }
  EXPECT_GT(accepted, 200);
  EXPECT_GT(refused, 200);
}

TEST_F(CompileProperty, PerResourceAlwaysLeavesAWholeSnapshot) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Rng rng(seed);
    snapshot = nullptr;
    context.mode = Mode::kPerResource;
    std::map<ResourceKey, Resource> in_force;
    for (int step = 0; step < 30; ++step) {
      const Delta delta = random_delta(rng);
      const std::shared_ptr<const Snapshot> old = snapshot;
      const CompileResult result = apply(delta);
      for (const Delta& part : {without_faulty(delta, result.faults), result.recovered}) {
        for (const Resource& resource : part.upserts) {
          in_force[resource.key()] = resource;
        }
        for (const ResourceKey& key : part.removals) {
          in_force.erase(key);
        }
      }
      // What did not change by name is the same object.
      if (old != nullptr) {
        old->apis().visit([&](const auto& api) {
          const model::Subject subject{model::Subject::Kind::kApi, api->api.name};
          const bool told = std::count(result.changed.begin(), result.changed.end(), subject) > 0;
          EXPECT_EQ(told, snapshot->find_api(api->api.name) != api);
        });
      }
    }
    Delta all;
    for (const auto& [key, resource] : in_force) {
      all.upserts.push_back(resource);
    }
    // All that is in force holds together, and is what a cold start from last-good makes of it.
    context.mode = Mode::kAllOrNothing;
    const CompileResult fresh = compile(nullptr, all, context);
    ASSERT_TRUE(fresh.faults.empty()) << text(fresh.faults);
    ASSERT_EQ(picture(*fresh.snapshot), picture(*snapshot));
  }
}

nanoseconds cpu_now() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return seconds(time.tv_sec) + nanoseconds(time.tv_nsec);
}

Resource numbered(int i, const char* more) {
  const std::string n = std::to_string(i);
  return testing::api("api-" + n, published("/context-" + n, "v1.0",
                                            std::string("display_name: 'Some name' "
                                                        "default_version: true plans: 'Gold' ") +
                                                more));
}

TEST_F(CompileProperty, OneEditCostsNoMoreAmongTenThousand) {
  give({testing::plan("Gold", "messages: 5000"), testing::listener("ws", "address: '127.0.0.1'")});
  constexpr int kApis = 10'000;
  Delta all;
  for (int i = 0; i < kApis; ++i) {
    all.upserts.push_back(numbered(i, ""));
  }
  const std::size_t before = mallinfo2().uordblks;
  ASSERT_TRUE(apply(all).faults.empty());
  const std::size_t bytes = mallinfo2().uordblks - before;
  nanoseconds best = seconds(1);
  for (int i = 0; i < 20; ++i) {
    const Delta edit{{numbered(i * 7, "close_codes: 'standard'")}, {}};
    const nanoseconds begin = cpu_now();
    const CompileResult result = apply(edit);
    best = std::min(best, cpu_now() - begin);
    ASSERT_EQ(changed(result), testing::Strings{"api api-" + std::to_string(i * 7)});
  }
  RecordProperty("edit_us", static_cast<int>(best / microseconds(1)));
  RecordProperty("api_bytes", static_cast<int>(bytes / kApis));
  std::printf("one edit among %d: %d us; memory: %d bytes an API\n", kApis,
              static_cast<int>(best / microseconds(1)), static_cast<int>(bytes / kApis));
  // Sanitizers and -O0 cost several times what a release does.
  EXPECT_LT(best, milliseconds(10));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(bytes / kApis, 8u * 1024);
#endif
}

}  // namespace
}  // namespace sluice::config
