// One worker with its real chain, its configuration, identities and records, and everything around
// it, in one thread and in virtual time, from one seed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/filter/registry.h"

namespace sluice::simulation {

struct Options {
  std::uint64_t seed = 1;
  const filter::FilterRegistry* filters = nullptr;  // with all of filters/all.h
  std::string* trace = nullptr;                     // what happened, line by line; null: not kept
};

struct Outcome {
  std::string violation;  // empty: every promise was kept
  double seconds = 0;     // of virtual time
  std::uint64_t connections = 0;
  std::uint64_t messages = 0;
  std::uint64_t records = 0;
};

// Deterministic: equal options give an equal outcome and an equal trace.
Outcome simulate(const Options& options);

}  // namespace sluice::simulation
