// The list of filters, written by CMake from the folders here.
#pragma once

#include "proxy/filter/registry.h"

namespace sluice::filters {

// Adds every filter of this folder to `registry`.
void add_all_to(filter::FilterRegistry& registry);

}  // namespace sluice::filters
