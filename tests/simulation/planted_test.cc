// Plants each known bug into the proxy and proves that the simulation finds it.
#include <gtest/gtest.h>

#include <string>

#include "proxy/base/plant.h"
#include "tests/simulation/seeds.h"

namespace sluice::simulation {
namespace {

using plants::Plant;

constexpr std::uint64_t kSeedsMax = 1000;

struct Case {
  const char* name;
  Plant plant;
};

class Planted : public testing::TestWithParam<Case> {
 protected:
  ~Planted() override { plants::active = Plant::kNone; }
};

TEST_P(Planted, BugIsFoundWithinAThousandSeeds) {
  plants::active = GetParam().plant;
  const auto found = run_seeds(1, kSeedsMax);
  ASSERT_TRUE(found) << "the simulation is blind to it";
  RecordProperty("seed", std::to_string(found->seed));
}

INSTANTIATE_TEST_SUITE_P(
    Simulation, Planted,
    testing::Values(Case{"SkippedRecheck", Plant::kSkippedRecheck},
                    Case{"AckBeforeInForce", Plant::kAckBeforeInForce},
                    Case{"LostRecord", Plant::kLostRecord},
                    Case{"DoubledRecord", Plant::kDoubledRecord},
                    Case{"OneTooMany", Plant::kOneTooMany},
                    Case{"HalfApplied", Plant::kHalfApplied},
                    Case{"RefusalStopsAll", Plant::kRefusalStopsAll},
                    Case{"TimerNeverFires", Plant::kTimerNeverFires},
                    Case{"UsesEjected", Plant::kUsesEjected},
                    Case{"BreakerOneTooMany", Plant::kBreakerOneTooMany},
                    Case{"RetriesUnbounded", Plant::kRetriesUnbounded}),
    [](const testing::TestParamInfo<Case>& info) { return std::string(info.param.name); });

TEST(Simulation, IsCleanWhenNothingIsPlanted) {
  constexpr std::uint64_t kSeeds = 25;
  EXPECT_FALSE(run_seeds(1, kSeeds));
}

}  // namespace
}  // namespace sluice::simulation
