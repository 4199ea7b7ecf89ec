// What there is before anybody makes anything.
#pragma once

#include <vector>

#include "controlplane/model/catalogue.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::model {

// For the first start: the group `default`, the default plans, the Secret `wss-default`, the
// listeners `ws` (127.0.0.1:9099) and `wss` ([::]:8099), and the user `admin` (without a password).
std::vector<Resource> first_resources(const config::v1::Secret& wss_default);

}  // namespace sluice::controlplane::model
