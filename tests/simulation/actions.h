// What befalls a proxy, by chance: edits, faults of its surroundings, and clients.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/discovery_link.h"
#include "tests/simulation/endpoints.h"
#include "tests/simulation/real_proxy.h"
#include "tests/simulation/records.h"
#include "tests/simulation/world.h"

namespace sluice::simulation {

class Actions {
 public:
  struct Parts {
    Schedule& schedule;
    Chance& chance;
    World& world;
    Report& report;
    Checks& checks;
    Talks& talks;
    Backends& backends;
    RealProxy& proxy;
    DiscoveryLink& config;
    DiscoveryLink& identity;
    RecordLink& records;
    bool& control_plane_up;
    nanoseconds& wall_jump;  // of the system's wall clock, all in all
    std::shared_ptr<net::PipeRules> rules;
  };
  explicit Actions(const Parts& parts) : parts_(parts) {}

  // One after the other until calm().
  void begin();
  // No more actions, and all faults of the surroundings are mended; repairs of resources follow.
  void calm();
  bool repaired() const { return repairs_ == 0; }

  // A client for each API that should serve it, with a good token. How many.
  int open_probes();
  void close_clients();

 private:
  using Act = void (Actions::*)();
  struct Choice {
    int weight;
    Act act;
  };

  void next();
  void repair_later(std::function<void()> repair);

  void edit_apis();
  void change_state();
  void delete_api();
  void change_plan();
  void change_upstream();
  void change_subscription();
  void change_application();
  void delete_application();
  void revoke_token();
  void expire_token();
  void delete_token();
  void cut_stream();
  void restart_control_plane();
  void jump_clock();
  void break_disk();
  void lose_backend();
  void trouble_endpoint();

  void open_client();
  void use_client();
  void leave();

  void edit_plan(v1::Plan& plan);
  Client& connect(const World::Issued& token, const std::string& api);
  Client* live_client();
  const World::Issued& recent_token();
  std::string any_plan();

  Parts parts_;
  std::vector<std::unique_ptr<Client>> clients_;
  bool calm_ = true;
  int repairs_ = 0;
};

}  // namespace sluice::simulation
