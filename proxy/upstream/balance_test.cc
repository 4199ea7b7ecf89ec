#include "proxy/upstream/balance.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace sluice::upstream {
namespace {

constexpr Mono kNow{seconds(1000)};

class BalanceTest : public ::testing::Test {
 protected:
  // One priority each digit: "0011" has two hosts of priority 0 and two of priority 1.
  void make(std::string_view priorities, Mono since = Mono{}) {
    hosts.clear();
    cluster.endpoints.assign(priorities.size(), {});
    for (std::size_t i = 0; i < priorities.size(); ++i) {
      model::Endpoint& endpoint = cluster.endpoints[i];
      endpoint.url = "ws://" + std::to_string(i) + "/";
      endpoint.priority = static_cast<std::uint32_t>(priorities[i] - '0');
      Host host;
      host.endpoint = &endpoint;
      host.state = std::make_shared<EndpointState>(endpoint.url, "", since);
      host.hash = balance_hash(endpoint.url);
      hosts.push_back(host);
    }
  }
  void set_unwell(std::size_t index) {
    hosts[index].state->set_health(EndpointState::Health::kUnhealthy, kNow);
  }
  // The index of the chosen one; -1: none.
  int pick(std::uint64_t hash = 0) {
    choice = choose(hosts, cluster, hash, tried, kNow, rng);
    return choice.host == nullptr ? -1 : static_cast<int>(choice.host - hosts.data());
  }
  std::map<int, int> spread(int count) {
    std::map<int, int> found;
    for (int i = 0; i < count; ++i) {
      ++found[pick(Rng(static_cast<std::uint64_t>(i)).next())];
    }
    return found;
  }

  Cluster cluster;
  std::vector<Host> hosts;
  std::vector<std::shared_ptr<EndpointState>> tried;
  Choice choice;
  Rng rng{1};
};

TEST_F(BalanceTest, RoundRobinIsExactByWeightAndNeverBunches) {
  make("000");
  cluster.endpoints[0].weight = 5;
  std::string order;
  for (int i = 0; i < 14; ++i) {
    order += static_cast<char>('a' + pick());
  }
  EXPECT_EQ(order, "aabacaaaabacaa");
}

TEST_F(BalanceTest, LeastConnectionsTakesTheLeastBusyForItsWeight) {
  make("000");
  cluster.balance = Balance::kLeastConnections;
  hosts[0].state->active = 4;
  hosts[1].state->active = 1;
  hosts[2].state->active = 3;
  EXPECT_EQ(pick(), 1);
  cluster.endpoints[2].weight = 4;
  EXPECT_EQ(pick(), 2);
  for (Host& host : hosts) {
    host.state->active = 0;
  }
  cluster.endpoints[2].weight = 1;
  EXPECT_EQ(spread(300).size(), 3u) << "equals are taken by chance";
}

TEST_F(BalanceTest, ConsistentHashKeepsEachValueWhereItIs) {
  make("0000");
  cluster.balance = Balance::kConsistentHash;
  std::map<std::uint64_t, int> before;
  for (int i = 0; i < 4000; ++i) {
    const std::uint64_t hash = balance_hash("user-" + std::to_string(i));
    before[hash] = pick(hash);
    EXPECT_EQ(pick(hash), before[hash]);
  }
  std::map<int, int> sizes;
  for (const auto& [hash, host] : before) {
    ++sizes[host];
  }
  for (const auto& [host, size] : sizes) {
    EXPECT_NEAR(size, 1000, 120) << host;
  }
  set_unwell(2);
  for (const auto& [hash, host] : before) {
    if (host != 2) {
      EXPECT_EQ(pick(hash), host) << "only the values of the one that went may move";
    } else {
      EXPECT_NE(pick(hash), 2);
    }
  }
}

TEST_F(BalanceTest, ConsistentHashGoesByWeight) {
  make("00");
  cluster.balance = Balance::kConsistentHash;
  cluster.endpoints[1].weight = 3;
  EXPECT_NEAR(spread(4000)[1], 3000, 120);
}

TEST_F(BalanceTest, LeavesOutWhatIsNotWellOrWasTried) {
  make("0000");
  set_unwell(1);
  EXPECT_EQ(spread(90), (std::map<int, int>{{0, 30}, {2, 30}, {3, 30}}));
  tried.push_back(hosts[0].state);
  tried.push_back(hosts[2].state);
  EXPECT_EQ(pick(), 3);
  tried.push_back(hosts[3].state);
  EXPECT_EQ(pick(), -1);
  EXPECT_TRUE(choice.well);
}

TEST_F(BalanceTest, UsesTheNextPriorityWhereTooFewAreWell) {
  make("00011");
  set_unwell(0);
  EXPECT_LT(pick(), 3);
  set_unwell(1);
  EXPECT_GE(pick(), 3) << "one of three is less than half";
  cluster.panic_percent = 30;
  EXPECT_EQ(pick(), 2);
  EXPECT_FALSE(choice.panic);
}

TEST_F(BalanceTest, PanicsWhereNoPriorityHasEnough) {
  make("000111");
  for (const std::size_t i : {0, 1, 3, 4, 5}) {
    set_unwell(i);
  }
  EXPECT_EQ(spread(30), (std::map<int, int>{{0, 10}, {1, 10}, {2, 10}}));
  EXPECT_TRUE(choice.panic);
  cluster.panic_percent = 0;
  EXPECT_EQ(pick(), 2);
  EXPECT_FALSE(choice.panic);
  set_unwell(2);
  EXPECT_EQ(pick(), -1);
  EXPECT_FALSE(choice.well);
}

TEST_F(BalanceTest, SlowStartGivesANewOneLittleAtFirst) {
  make("00");
  cluster.slow_start = seconds(100);
  hosts[1].state = std::make_shared<EndpointState>("new", "", kNow);
  EXPECT_EQ(spread(110), (std::map<int, int>{{0, 100}, {1, 10}}));
  hosts[1].state = std::make_shared<EndpointState>("half", "", kNow - seconds(50));
  hosts[0].credit = hosts[1].credit = 0;
  EXPECT_EQ(spread(150), (std::map<int, int>{{0, 100}, {1, 50}}));
}

}  // namespace
}  // namespace sluice::upstream
