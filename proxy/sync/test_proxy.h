// For tests: a proxy's control thread without its workers, disk and network.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/timer_wheel.h"
#include "proxy/config/compile.h"
#include "proxy/config/directory.h"
#include "proxy/filter/registry.h"
#include "proxy/sync/config_client.h"
#include "proxy/sync/identity_client.h"

namespace sluice::sync {

class NullFactory final : public filter::FilterFactory {
 public:
  filter::Hooks hooks() const override { return {}; }
  std::unique_ptr<filter::Filter> make() const override { return nullptr; }
};

struct TestProxy {
  TestProxy() {
    for (const char* name : {"auth", "throttling", "analytics", "passthrough"}) {
      registry.add(name, [](const auto&, auto&) {
        return absl::StatusOr<std::shared_ptr<const filter::FilterFactory>>(
            std::make_shared<const NullFactory>());
      });
    }
  }

  // Runs what waits for the workers or the disk, and what follows from it.
  void run() {
    while (!later.empty()) {
      auto work = std::move(later.front());
      later.pop_front();
      work();
    }
  }
  void defer(std::function<void()> work) {
    if (hold) {
      later.push_back(std::move(work));
    } else {
      work();
    }
  }
  void advance(nanoseconds time) {
    clock.tick(clock.now() + time, clock.wall() + time);
    timers.advance(clock.now());
  }
  void persist(config::Delta delta, const std::function<void(absl::Status)>& done) {
    defer([this, delta = std::move(delta), done] {
      if (disk_status.ok()) {
        for (const config::Resource& resource : delta.upserts) {
          disk[resource.key()] = resource;
        }
        for (const config::ResourceKey& key : delta.removals) {
          disk.erase(key);
        }
      }
      done(disk_status);
    });
  }
  config::Delta saved() const {
    config::Delta delta;
    for (const auto& [key, resource] : disk) {
      delta.upserts.push_back(resource);
    }
    return delta;
  }

  filter::FilterRegistry registry;
  filter::SharedState shared;
  Clock clock{Mono(seconds(1000)), Wall(seconds(1'700'000'000))};
  TimerWheel timers{clock.now()};

  bool hold = false;  // workers and disk answer only in run()
  std::deque<std::function<void()>> later;
  std::shared_ptr<const config::Snapshot> in_force = config::Snapshot::empty();
  std::function<void()> on_in_force;   // a publication is in force; may be null
  std::vector<config::Fault> unbound;  // what the next publication cannot bind
  std::vector<model::Subject> rechecked;
  std::map<config::ResourceKey, config::Resource> disk;
  absl::Status disk_status;
  int compiles = 0;

  ConfigClient config{{
      .compile =
          [this](std::shared_ptr<const config::Snapshot> base, const config::Delta& delta) {
            ++compiles;
            return config::compile(std::move(base), delta,
                                   {.registry = registry,
                                    .shared = shared,
                                    .mode = config::Mode::kPerResource,
                                    .allows_local = [](std::string_view) { return true; },
                                    .own_addresses = {},
                                    .listen = {}});
          },
      .publish =
          [this](std::shared_ptr<const config::Snapshot> snapshot, std::vector<model::Subject>,
                 std::function<void()> done) {
            defer([this, snapshot = std::move(snapshot), done = std::move(done)] {
              in_force = snapshot;
              done();
              if (on_in_force) {
                on_in_force();
              }
            });
            return std::exchange(unbound, {});
          },
      .persist = [this](
                     config::Delta delta,
                     std::function<void(absl::Status)> done) { persist(std::move(delta), done); },
  }};

  config::Directory directory{directory_max()};
  IdentityClient identity{{
      .clock = clock,
      .timers = timers,
      .directory = directory,
      .recheck =
          [this](std::vector<model::Subject> changed, std::function<void()> done) {
            defer([this, changed = std::move(changed), done = std::move(done)] {
              rechecked.insert(rechecked.end(), changed.begin(), changed.end());
              done();
            });
          },
      .persist = [this](
                     config::Delta delta,
                     std::function<void(absl::Status)> done) { persist(std::move(delta), done); },
  }};

  static std::size_t& directory_max() {
    thread_local std::size_t max = 1000;
    return max;
  }
};

}  // namespace sluice::sync
