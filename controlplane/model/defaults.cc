#include "controlplane/model/defaults.h"

#include "controlplane/model/rules.h"
#include "proxy/config/default_plans.h"

namespace sluice::controlplane::model {
namespace {

constexpr char kWssSecret[] = "wss-default";
constexpr std::uint32_t kWsPort = 9099;
constexpr std::uint32_t kWssPort = 8099;

template <class Spec>
Resource resource(const char* kind, std::string name, Spec spec) {
  Resource made;
  made.key = {kind, std::move(name)};
  made.spec = std::make_shared<Spec>(std::move(spec));
  return made;
}

}  // namespace

std::vector<Resource> first_resources(const config::v1::Secret& wss_default) {
  std::vector<Resource> all;
  config::v1::GatewayGroup group;
  group.set_display_name("Default");
  all.push_back(resource("GatewayGroup", kDefaultGroup, group));
  for (config::NamedPlan& plan : config::default_plans()) {
    all.push_back(resource("Plan", plan.name, std::move(plan.plan)));
  }
  all.push_back(resource("Secret", kWssSecret, wss_default));
  config::v1::Listener ws;
  ws.set_address("127.0.0.1");
  ws.set_port(kWsPort);
  all.push_back(resource("Listener", "ws", ws));
  config::v1::Listener wss;
  wss.set_address("::");
  wss.set_port(kWssPort);
  wss.mutable_tls()->set_secret(kWssSecret);
  all.push_back(resource("Listener", "wss", wss));
  config::v1::User admin;
  admin.set_display_name("Administrator");
  all.push_back(resource("User", kAdmin, admin));
  return all;
}

}  // namespace sluice::controlplane::model
