// What a proxy was told, and what follows from it for a connection.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "envoy/service/discovery/v3/discovery.pb.h"
#include "sluice/config/v1/config.pb.h"
#include "tests/simulation/talk.h"

namespace sluice::simulation {

namespace v1 = ::sluice::config::v1;
namespace xds = ::envoy::service::discovery::v3;

template <class Spec>
struct Held {
  std::string version;
  std::optional<Spec> spec;  // none: told that there is none
};

struct Belief {
  std::map<std::string, Held<v1::Token>, std::less<>> tokens;
  std::map<std::string, Held<v1::Grants>, std::less<>> grants;
  std::map<std::string, Held<v1::Api>, std::less<>> apis;

  // Takes over what the response says but for `refused`. Returns what was believed before of the
  // same resources.
  Belief take(const xds::DeltaDiscoveryResponse& response, const std::set<std::string>& refused);
};

// The reasons (those of close frames) for which the connection may not live.
std::set<std::string_view> faults(const Belief& belief, const Talk& talk);
// Those that both say: what was told later takes back what was acknowledged.
std::set<std::string_view> common_faults(const Belief& acknowledged, const Belief& delivered,
                                         const Talk& talk);
// When its token expires; Wall::max() if never or not known.
Wall expiry(const Belief& belief, const Talk& talk);

}  // namespace sluice::simulation
