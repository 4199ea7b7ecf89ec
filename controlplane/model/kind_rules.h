// The rules of single kinds that compile() does not know.
#pragma once

#include <vector>

#include "controlplane/model/rules.h"

namespace sluice::controlplane::model {

// Adds every fault of a new or changed resource.
void check_kind(const Draft& draft, const Resource& resource, std::vector<Fault>& faults);

}  // namespace sluice::controlplane::model
