// What the control plane wants: the resources as people would write them, and as discovery serves
// them, with a revision for each edit.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/resource.h"
#include "proxy/sync/delta_server.h"
#include "proxy/sync/test_world.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::simulation {

namespace v1 = ::sluice::config::v1;

// What APIs a1 and a3 use for production: three endpoints with checks and all limits.
inline constexpr char kUpstream[] = "u0";
inline constexpr int kWebSocketsMax = 3;
inline constexpr int kRetriesMax = 1;
bool is_of_upstream(std::string_view api);

// The number that is written into both an API's endpoint and its throttle_notice, so that an API
// of which only half is new shows it.
std::string generation_path(std::string_view owner, int generation);    // /NAME/gN
std::string generation_notice(int generation);                          // notice gN
int generation_of(std::string_view text);                               // the N behind the last g
bool is_notice(std::string_view message);

// Bad ones must be refused by every proxy.
bool is_bad(const v1::Api& api);
bool is_bad(const v1::Plan& plan);
void spoil(v1::Api& api);
void spoil(v1::Plan& plan);

class World {
 public:
  // Four APIs (one by way of an Upstream), four plans, three applications, tokens for each.
  World();

  std::map<std::string, v1::Api> apis;
  std::map<std::string, v1::Plan> plans;
  std::map<std::string, v1::Upstream> upstreams;
  std::map<std::string, v1::Grants> grants;
  std::map<std::string, v1::Token> tokens;  // by hash
  struct Issued {
    std::string text;
    std::string application;
    bool sandbox = false;
  };
  std::vector<Issued> issued;               // tokens ever made, the youngest last
  std::map<std::string, int> generations;   // of APIs and Upstreams, deleted ones included

  // A new generation; the caller says it with edited().
  void renew_api(const std::string& name);
  void renew_upstream(const std::string& name);
  void make_token(const std::string& application, bool sandbox);
  v1::Subscription* subscription(const std::string& application, const std::string& api);

  // Takes the resource over from the maps above: changed, new or gone.
  void edited(config::Kind kind, const std::string& name);
  // One revision for what was edited since the last.
  void commit();

  std::function<void(std::int64_t revision, std::span<const sync::ResourceChange>)> on_commit;
  sync::ResourceView view() const { return served_.view(); }
  std::int64_t revision() const { return revision_; }
  // Null if there is none.
  sync::ResourcePtr served(config::Kind kind, const std::string& name) const;

 private:
  sync::TestWorld served_;
  std::int64_t revision_ = 1;
  std::vector<config::ResourceKey> edits_;
};

std::string token_hash(std::string_view text);

}  // namespace sluice::simulation
