// For tests of filters: runs a task to its end, and the services of a worker that is not there.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proxy/base/task_group.h"
#include "proxy/filter/exchange.h"
#include "proxy/filter/filter.h"

namespace sluice::filter {

template <class T>
Task<void> keep_result(Task<T> task, std::optional<T>* result) {
  result->emplace(co_await std::move(task));
}

// `task` must not wait for anything that is not done when the loop has nothing left to run.
template <class T>
T run_task(Task<T> task) {
  asio::io_context context;
  TaskGroup group(context.get_executor());
  std::optional<T> result;
  group.spawn(keep_result(std::move(task), &result));
  context.run();
  EXPECT_TRUE(result.has_value());
  return *std::move(result);
}

// Answers from maps, on a clock that the test moves.
class FakeServices {
 public:
  FakeServices() : clock(Mono(seconds(1'000'000)), Wall(seconds(1'700'000'000))), rng_(1) {
    services.clock = &clock;
    services.rng = &rng_;
    services.find_token = [this](Sha256 hash, std::string client) {
      return find(hash, std::move(client));
    };
    services.known_token = [this](const Sha256& hash) -> absl::StatusOr<model::Identity> {
      const auto found = tokens.find(hash);
      return found == tokens.end() ? absl::StatusOr<model::Identity>(unavailable("not known"))
                                   : found->second;
    };
    services.find_plan = [this](std::string_view name) { return plans[std::string(name)]; };
    services.emit = [this](telemetry::Record record) { emitted.push_back(std::move(record)); };
  }

  // Moves both clocks.
  void advance(nanoseconds by) { clock.tick(clock.now() + by, clock.wall() + by); }
  void add_plan(model::Plan plan) {
    const std::string name = plan.name;
    plans[name] = std::make_shared<const model::Plan>(std::move(plan));
  }

  Clock clock;
  Services services;
  std::map<Sha256, model::Identity> tokens;
  absl::Status lookup = absl::OkStatus();  // what find_token answers instead
  std::string asked_by;                    // the client address of the last look-up
  std::map<std::string, std::shared_ptr<const model::Plan>> plans;
  std::vector<telemetry::Record> emitted;

 private:
  Task<absl::StatusOr<model::Identity>> find(Sha256 hash, std::string client) {
    asked_by = std::move(client);
    if (!lookup.ok()) {
      co_return lookup;
    }
    const auto found = tokens.find(hash);
    co_return found == tokens.end() ? model::Identity{} : found->second;
  }

  Rng rng_;
};

}  // namespace sluice::filter
