// One account for each live exchange, and a record when it ends or is refused.
#pragma once

#include "proxy/filter/registry.h"

namespace sluice::filters::analytics {

void add_to(filter::FilterRegistry& registry);

}  // namespace sluice::filters::analytics
