// What the backend sees of a handshake. Frames pass untouched.
#pragma once

#include "proxy/filter/registry.h"

namespace sluice::filters::passthrough {

void add_to(filter::FilterRegistry& registry);

}  // namespace sluice::filters::passthrough
