#include <gtest/gtest.h>

#include <string>

#include "filters/all.h"
#include "tests/simulation/seeds.h"
#include "tests/simulation/simulation.h"

namespace sluice::simulation {
namespace {

constexpr std::uint64_t kSeeds = 300;

TEST(Simulation, KeepsEveryPromiseForEverySeed) {
  const auto found = run_seeds(1, kSeeds);
  EXPECT_FALSE(found) << "seed " << found->seed << ": " << found->violation;
}

TEST(Simulation, ReplaysASeedWhenAskedAgain) {
  filter::FilterRegistry filters;
  filters::add_all_to(filters);
  for (const std::uint64_t seed : {1, 2, 3}) {
    std::string first;
    std::string second;
    simulate({seed, &filters, &first});
    simulate({seed, &filters, &second});
    EXPECT_GT(first.size(), 10'000U);
    EXPECT_TRUE(first == second) << "seed " << seed << " went two ways";
  }
}

}  // namespace
}  // namespace sluice::simulation
