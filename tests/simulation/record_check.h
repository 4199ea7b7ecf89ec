// The last promise: records say exactly what happened.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/simulation/checks.h"
#include "tests/simulation/records.h"

namespace sluice::simulation {

// After everything is closed and delivered. `dropped`: records that the proxy gave up and counted.
void check_records(const std::vector<WireRecord>& records, const Talks& talks,
                   std::uint64_t dropped, Report& report);

}  // namespace sluice::simulation
