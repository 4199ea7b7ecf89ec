// What an update changes, for people.
#pragma once

#include <string>
#include <vector>

#include "controlplane/model/catalogue.h"

namespace sluice::controlplane::api {

// `spec.plans: [Gold] -> [Gold, Silver]`, a line each; labels as meta.labels.NAME. Values of
// write-only fields are hidden, long ones cut.
std::vector<std::string> differences(const model::Kind& kind, const model::Resource& before,
                                     const model::Resource& now);

}  // namespace sluice::controlplane::api
