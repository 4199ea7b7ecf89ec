#include "proxy/telemetry/inbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace sluice::telemetry {
namespace {

TEST(Inbox, KeepsTheOrderOfOneProducer) {
  Inbox<int> inbox(10);
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(inbox.push(i));
  }
  EXPECT_EQ(inbox.take_all(), (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(inbox.take_all().empty());
}

TEST(Inbox, DropsAndCountsWhatIsTooMany) {
  Inbox<std::unique_ptr<int>> inbox(3);
  for (int i = 0; i < 5; ++i) {
    inbox.push(std::make_unique<int>(i));
  }
  EXPECT_EQ(inbox.take_dropped(), 2u);
  EXPECT_EQ(inbox.take_dropped(), 0u);
  EXPECT_EQ(inbox.take_all().size(), 3u);
  EXPECT_TRUE(inbox.push(std::make_unique<int>(9)));
}

TEST(Inbox, LosesNothingBetweenThreads) {
  constexpr int kThreads = 3;
  constexpr int kItems = 20'000;
  Inbox<std::pair<int, int>> inbox(1000);
  std::atomic<int> running{kThreads};
  std::vector<std::thread> threads;
  std::vector<int> refused(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kItems; ++i) {
        if (!inbox.push({t, i})) {
          ++refused[t];
        }
      }
      running.fetch_sub(1);
    });
  }
  std::vector<int> last(kThreads, -1);
  std::vector<int> got(kThreads);
  bool done = false;
  while (!done) {
    done = running.load() == 0;
    for (const auto& [t, i] : inbox.take_all()) {
      EXPECT_GT(i, last[t]);
      last[t] = i;
      ++got[t];
    }
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::uint64_t all_refused = 0;
  for (int t = 0; t < kThreads; ++t) {
    EXPECT_EQ(got[t] + refused[t], kItems);
    all_refused += static_cast<std::uint64_t>(refused[t]);
  }
  EXPECT_EQ(inbox.take_dropped(), all_refused);
}

}  // namespace
}  // namespace sluice::telemetry
