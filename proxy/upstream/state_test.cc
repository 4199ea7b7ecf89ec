#include "proxy/upstream/state.h"

#include <gtest/gtest.h>

#include <thread>

namespace sluice::upstream {
namespace {

constexpr Mono kNow{seconds(1000)};

TEST(ClusterState, TakesExactlyAsMuchAsTheBreakerAllowsWhateverTheThreads) {
  ClusterState state("c");
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 1000; ++n) {
        taken += state.take(Unit::kRequest, 1500) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(taken, 1500);
  EXPECT_EQ(state.in_use(Unit::kRequest), 1500u);
  EXPECT_EQ(state.overflows(Unit::kRequest), 2500u);
  state.give(Unit::kRequest);
  EXPECT_TRUE(state.take(Unit::kRequest, 1500));
  EXPECT_TRUE(state.take(Unit::kRequest, 0)) << "0 is no limit";
}

class EjectionTest : public ::testing::Test {
 protected:
  void make(int count) {
    std::vector<ClusterState::Wanted> wanted;
    for (int i = 0; i < count; ++i) {
      wanted.push_back({"ws://" + std::to_string(i) + "/", "192.0.2.1"});
    }
    endpoints = state.adopt(wanted, kNow);
  }
  void fail(std::size_t index, int times, Mono now = kNow) {
    for (int i = 0; i < times; ++i) {
      state.failed(*endpoints[index], ejection, now);
    }
  }

  ClusterState state{"c"};
  Ejection ejection;
  std::vector<std::shared_ptr<EndpointState>> endpoints;
};

TEST_F(EjectionTest, EjectsAfterFailuresInARow) {
  make(2);
  fail(0, 4);
  EXPECT_TRUE(endpoints[0]->well(kNow));
  state.succeeded(*endpoints[0]);
  fail(0, 4);
  EXPECT_TRUE(endpoints[0]->well(kNow)) << "a success came between";
  fail(0, 1);
  EXPECT_FALSE(endpoints[0]->well(kNow));
  EXPECT_FALSE(endpoints[0]->well(kNow + seconds(30) - nanoseconds(1)));
  EXPECT_TRUE(endpoints[0]->well(kNow + seconds(30)));
  EXPECT_EQ(endpoints[0]->well_since(), kNow + seconds(30));
  EXPECT_EQ(endpoints[0]->ejections, 1u);
}

TEST_F(EjectionTest, LastsLongerEachTimeInSuccession) {
  make(2);
  Mono now = kNow;
  for (const int wanted : {30, 60, 120, 240, 300, 300}) {
    fail(0, 5, now);
    EXPECT_EQ(endpoints[0]->ejected_until() - now, seconds(wanted));
    now = endpoints[0]->ejected_until();
  }
  // Well for four stretches: two of the six are left to double by.
  now += seconds(4 * 30);
  fail(0, 5, now);
  EXPECT_EQ(endpoints[0]->ejected_until() - now, seconds(120));
}

TEST_F(EjectionTest, EjectsNoMoreThanItsPartOfAllAtATime) {
  make(20);
  for (std::size_t i = 0; i < 5; ++i) {
    fail(i, 5);
  }
  EXPECT_EQ(std::count_if(endpoints.begin(), endpoints.end(),
                          [](const auto& one) { return one->ejected(kNow); }),
            2);
  make(3);
  fail(2, 5, kNow + seconds(31));
  EXPECT_TRUE(endpoints[2]->ejected(kNow + seconds(31))) << "one may always be";
}

TEST_F(EjectionTest, NeverEjectsWhereItIsTurnedOff) {
  make(2);
  ejection.failures = 0;
  fail(0, 100);
  EXPECT_TRUE(endpoints[0]->well(kNow));
  EXPECT_EQ(endpoints[0]->failed, 100u);
}

TEST(ClusterState, KeepsEndpointsThatStay) {
  ClusterState state("c");
  const auto before = state.adopt({{"ws://a/", "1.1.1.1"}, {"ws://b/", "1.1.1.1"}}, kNow);
  const auto after = state.adopt({{"ws://b/", "1.1.1.1"}, {"ws://b/", "1.1.1.2"}}, kNow);
  EXPECT_EQ(after[0], before[1]);
  EXPECT_EQ(state.endpoints().size(), 2u);
  // One that is still in use comes back as it was.
  EXPECT_EQ(state.adopt({{"ws://a/", "1.1.1.1"}}, kNow).front(), before[0]);
}

TEST(StateTable, KeepsAStateAsLongAsItIsHeld) {
  StateTable table;
  auto held = table.get("c");
  EXPECT_EQ(table.get("c"), held);
  EXPECT_EQ(table.all().size(), 1u);
  held.reset();
  EXPECT_EQ(table.find("c"), nullptr);
  EXPECT_TRUE(table.all().empty());
}

}  // namespace
}  // namespace sluice::upstream
