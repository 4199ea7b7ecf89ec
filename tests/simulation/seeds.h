// Runs seeds and prints what people need to run one again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tests/simulation/simulation.h"

namespace sluice::simulation {

struct Found {
  std::uint64_t seed = 0;
  std::string violation;
};

// SLUICE_SEED: that seed alone, with a trace on stderr. Else `count` seeds (SLUICE_SEEDS instead if
// it is set) from `first` on, until one breaks a promise. Prints seeds a minute. If the program
// aborts, the seed under way is printed first.
std::optional<Found> run_seeds(std::uint64_t first, std::uint64_t count);

}  // namespace sluice::simulation
