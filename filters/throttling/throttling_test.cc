#include "filters/throttling/throttling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <thread>

#include "google/protobuf/struct.pb.h"
#include "proxy/filter/chain.h"
#include "proxy/filter/test_support.h"

namespace sluice::filters::throttling {
namespace {

using filter::CloseCause;
using filter::DataUnit;
using filter::Direction;
using filter::Refusal;
using filter::Verdict;
using model::LimitAction;
using model::Plan;
using Kind = Verdict::Kind;

constexpr DataUnit kUp{Direction::kUp, websocket::Opcode::kText, true, true, 10};
constexpr DataUnit kDown{Direction::kDown, websocket::Opcode::kText, true, true, 10};

DataUnit up_of(std::uint64_t bytes) {
  DataUnit unit = kUp;
  unit.payload_bytes = bytes;
  return unit;
}

// One connection with its own filter.
struct Live {
  explicit Live(filter::FakeServices& fake, std::shared_ptr<CounterTable> counters)
      : table(std::move(counters)), filter(*table) {
    exchange.services = &fake.services;
    exchange.account = &account;
  }
  Verdict open() { return filter::run_task(filter.open(exchange)); }
  Verdict data(const DataUnit& unit = kUp) { return filter.data(exchange, unit); }
  Verdict recheck() {
    exchange.subjects.clear();
    return filter.recheck(exchange);
  }
  int passed(int asked, const DataUnit& unit = kUp) {
    int count = 0;
    for (int i = 0; i < asked; ++i) {
      count += data(unit).passes() ? 1 : 0;
    }
    return count;
  }

  telemetry::Account account;
  filter::Exchange exchange;
  std::shared_ptr<CounterTable> table;
  ThrottlingFilter filter;
};

class ThrottlingTest : public testing::Test {
 protected:
  ThrottlingTest() {
    fake.add_plan({"Unlimited"});
    fake.add_plan(plan("Ten", 10));
    // Into the middle of a minute.
    fake.advance(seconds(60) - fake.clock.wall().time_since_epoch() % seconds(60) + seconds(20));
  }
  static Plan plan(std::string name, std::uint64_t messages, std::uint64_t bytes = 0) {
    Plan p;
    p.name = std::move(name);
    p.messages = messages;
    p.bytes = bytes;
    return p;
  }
  Live& connect(std::string api_plan, std::string subscription_plan, std::string application_plan) {
    Live& live = lives.emplace_back(fake, table);
    model::Api api;
    api.name = "echo-v1";
    api.api_plan = std::move(api_plan);
    live.exchange.api = std::make_shared<const model::Api>(api);
    model::Principal principal;
    principal.application = "shop";
    principal.user = "ann";
    principal.subscription_plan = std::move(subscription_plan);
    principal.application_plan = std::move(application_plan);
    live.exchange.principal = principal;
    return live;
  }
  Live& connect_on(std::string subscription_plan) {
    Live& live = connect("Unlimited", std::move(subscription_plan), "Unlimited");
    const Verdict opened = live.open();
    EXPECT_TRUE(opened.passes()) << opened.detail()->text;
    return live;
  }
  void to_next_minute() {
    fake.advance(seconds(60) - fake.clock.wall().time_since_epoch() % seconds(60));
  }

  filter::FakeServices fake;
  std::shared_ptr<CounterTable> table = std::make_shared<CounterTable>();
  std::list<Live> lives;
};

TEST_F(ThrottlingTest, PassesExactlyNBothWaysTogetherAndNamesTheNext) {
  Live& live = connect_on("Ten");
  EXPECT_EQ(live.passed(6, kUp), 6);
  EXPECT_EQ(live.passed(4, kDown), 4);
  const Verdict verdict = live.data();
  EXPECT_EQ(verdict.kind(), Kind::kDrop);
  EXPECT_EQ(verdict.detail()->text, "Websocket frame throttled out");
  EXPECT_EQ(live.account.throttled_up.load(), 1u);
  EXPECT_EQ(live.account.throttled_down.load(), 0u);
  to_next_minute();
  EXPECT_EQ(live.passed(20), 10);
}

TEST_F(ThrottlingTest, SharesTheCounterOfOneKeyAmongConnections) {
  Live& a = connect_on("Ten");
  Live& b = connect_on("Ten");
  EXPECT_EQ(a.passed(7) + b.passed(7), 10);
  Live& other = connect("Unlimited", "Ten", "Unlimited");
  other.exchange.principal->application = "bank";
  EXPECT_TRUE(other.open().passes());
  EXPECT_EQ(other.passed(20), 10);
}

TEST_F(ThrottlingTest, CountsAMessageOnItsFirstFrame) {
  Live& live = connect_on("Ten");
  DataUnit first = kUp;
  first.ends_message = false;
  DataUnit rest = kUp;
  rest.begins_message = false;
  rest.opcode = websocket::Opcode::kContinuation;
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(live.data(first).passes());
    EXPECT_TRUE(live.data(rest).passes());
    EXPECT_TRUE(live.data(rest).passes());
  }
  EXPECT_EQ(live.data(first).kind(), Kind::kDrop);
}

TEST_F(ThrottlingTest, ChargesNoLevelUnlessAllPass) {
  fake.add_plan(plan("Three", 3));
  Live& live = connect("Ten", "Three", "Ten");
  ASSERT_TRUE(live.open().passes());
  EXPECT_EQ(live.passed(9), 3);
  // What the subscription refused has not been charged to the API or the application.
  Live& other = connect("Ten", "Unlimited", "Ten");
  ASSERT_TRUE(other.open().passes());
  EXPECT_EQ(other.passed(20), 7);
}

TEST_F(ThrottlingTest, NamesTheFirstLevelInOrder) {
  fake.add_plan(plan("Three", 3));
  model::Api api;
  const auto notice = [&](Live& live) {
    model::Api edited = *live.exchange.api;
    edited.throttle_notice = "{limit} opens in {seconds} s, {limit}";
    live.exchange.api = std::make_shared<const model::Api>(edited);
    live.passed(3);
    return live.data().detail()->text;
  };
  Live& all = connect("Three", "Three", "Three");
  ASSERT_TRUE(all.open().passes());
  EXPECT_EQ(notice(all), "API plan Three opens in 40 s, API plan Three");
  to_next_minute();
  Live& two = connect("Ten", "Three", "Three");
  ASSERT_TRUE(two.open().passes());
  EXPECT_EQ(notice(two), "subscription plan Three opens in 60 s, subscription plan Three");
  to_next_minute();
  Live& one = connect("Ten", "Ten", "Three");
  ASSERT_TRUE(one.open().passes());
  EXPECT_EQ(notice(one), "application plan Three opens in 60 s, application plan Three");
}

TEST_F(ThrottlingTest, GivesBackWhatALaterFilterRefused) {
  Live& live = connect_on("Ten");
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(live.data().passes());
    live.filter.undo(live.exchange, kUp);
  }
  EXPECT_EQ(live.passed(20), 10);
}

TEST_F(ThrottlingTest, DelaysTheBackendUntilTheWindowEnds) {
  Live& live = connect_on("Ten");
  live.passed(10);
  const Verdict verdict = live.data(kDown);
  ASSERT_EQ(verdict.kind(), Kind::kHold);
  EXPECT_EQ(verdict.detail()->until, fake.clock.now() + seconds(40));
  // Asked again too early, it is the same message that waits: counted once.
  EXPECT_EQ(live.data(kDown).kind(), Kind::kHold);
  EXPECT_EQ(live.account.throttled_down.load(), 1u);
  to_next_minute();
  EXPECT_TRUE(live.data(kDown).passes());
  live.passed(9);
  EXPECT_EQ(live.data(kDown).kind(), Kind::kHold);
  EXPECT_EQ(live.account.throttled_down.load(), 2u);
}

TEST_F(ThrottlingTest, DoesWhatThePlanSays) {
  Plan p = plan("Acts", 1);
  p.on_limit = LimitAction::kClose;
  p.on_limit_backend = LimitAction::kDrop;
  fake.add_plan(p);
  Live& live = connect_on("Acts");
  ASSERT_TRUE(live.data().passes());
  const Verdict closed = live.data(kUp);
  ASSERT_EQ(closed.kind(), Kind::kClose);
  EXPECT_EQ(closed.detail()->cause, CloseCause::kThrottled);
  EXPECT_EQ(closed.detail()->text, "subscription plan Acts is used up; it opens in 40 s");
  const Verdict dropped = live.data(kDown);
  EXPECT_EQ(dropped.kind(), Kind::kDrop);
  EXPECT_EQ(dropped.detail(), nullptr);
}

TEST_F(ThrottlingTest, DelaysInsteadOfDroppingWhileContextsAreKept) {
  Live& live = connect_on("Ten");
  live.exchange.contexts_kept = true;
  live.passed(10);
  EXPECT_EQ(live.data(kUp).kind(), Kind::kHold);
  EXPECT_EQ(live.account.throttled_up.load(), 1u);
}

TEST_F(ThrottlingTest, TellsWhetherItMayDrop) {
  EXPECT_TRUE(connect_on("Ten").exchange.may_drop);
  EXPECT_FALSE(connect_on("Unlimited").exchange.may_drop);
  Plan p = plan("Delays", 5);
  p.on_limit = LimitAction::kDelay;
  fake.add_plan(p);
  EXPECT_FALSE(connect_on("Delays").exchange.may_drop);
  p.name = "Drops";
  p.on_limit_backend = LimitAction::kDrop;
  fake.add_plan(p);
  EXPECT_TRUE(connect_on("Drops").exchange.may_drop);
}

TEST_F(ThrottlingTest, RefusesAHandshakeWhileALevelIsUsedUp) {
  const struct {
    std::string api, subscription, application;
    Refusal refusal;
  } kRows[] = {{"Ten", "Unlimited", "Unlimited", Refusal::kLimitApi},
               {"Unlimited", "Ten", "Unlimited", Refusal::kLimitSubscription},
               {"Unlimited", "Unlimited", "Ten", Refusal::kLimitApplication}};
  for (const auto& row : kRows) {
    Live& live = connect(row.api, row.subscription, row.application);
    EXPECT_TRUE(live.open().passes());
    // Handshakes charge nothing.
    for (int i = 0; i < 30; ++i) {
      EXPECT_TRUE(connect(row.api, row.subscription, row.application).open().passes());
    }
    EXPECT_EQ(live.passed(10), 10);
    fake.advance(milliseconds(300));
    const Verdict verdict = connect(row.api, row.subscription, row.application).open();
    ASSERT_EQ(verdict.kind(), Kind::kRefuse);
    EXPECT_EQ(filter::info(verdict.detail()->refusal).code, filter::info(row.refusal).code);
    EXPECT_NE(verdict.detail()->text.find("Ten (10 messages per 60 s)"), std::string::npos);
    EXPECT_EQ(
        verdict.detail()->retry_after_s,
        std::chrono::ceil<seconds>(seconds(60) - fake.clock.wall().time_since_epoch() % seconds(60))
            .count());
    to_next_minute();
    EXPECT_TRUE(connect(row.api, row.subscription, row.application).open().passes());
  }
}

TEST_F(ThrottlingTest, LimitsBytes) {
  fake.add_plan(plan("Bytes", 0, 100));
  Live& live = connect_on("Bytes");
  EXPECT_EQ(live.passed(5, up_of(30)), 3);
  EXPECT_EQ(live.passed(2, up_of(10)), 1);
  EXPECT_EQ(live.passed(1, up_of(0)), 1);  // an empty message has no bytes
  const Verdict verdict = connect("Unlimited", "Bytes", "Unlimited").open();
  ASSERT_EQ(verdict.kind(), Kind::kRefuse);
  EXPECT_NE(verdict.detail()->text.find("100 bytes per 60 s"), std::string::npos);
}

TEST_F(ThrottlingTest, ChargesLaterFragmentsOfAMessageThatPassed) {
  fake.add_plan(plan("Bytes", 0, 100));
  Live& live = connect_on("Bytes");
  DataUnit first = up_of(60);
  first.ends_message = false;
  DataUnit rest = up_of(500);
  rest.begins_message = false;
  EXPECT_TRUE(live.data(first).passes());
  EXPECT_TRUE(live.data(rest).passes());
  EXPECT_EQ(live.data(up_of(1)).kind(), Kind::kDrop);
}

TEST_F(ThrottlingTest, GivesAMessageLargerThanAWindowOneOfItsOwnRatherThanWaitForEver) {
  fake.add_plan(plan("Bytes", 0, 100));
  Live& live = connect_on("Bytes");
  DataUnit large = kDown;
  large.payload_bytes = 1000;
  EXPECT_TRUE(live.data(up_of(1)).passes());
  EXPECT_EQ(live.data(large).kind(), Kind::kHold);
  to_next_minute();
  EXPECT_TRUE(live.data(large).passes());
  EXPECT_EQ(live.data(up_of(1)).kind(), Kind::kDrop);
  to_next_minute();
  EXPECT_EQ(live.data(up_of(1000)).kind(), Kind::kDrop);  // the client's is dropped
}

TEST_F(ThrottlingTest, KeepsCountsWhenALimitIsEdited) {
  Live& live = connect_on("Ten");
  EXPECT_EQ(live.passed(8), 8);
  fake.add_plan(plan("Ten", 12));
  EXPECT_TRUE(live.recheck().passes());
  EXPECT_EQ(live.passed(20), 4);
  fake.add_plan(plan("Ten", 5));
  EXPECT_TRUE(live.recheck().passes());
  EXPECT_EQ(live.passed(20), 0);
  to_next_minute();
  EXPECT_EQ(live.passed(20), 5);
}

TEST_F(ThrottlingTest, AdoptsAnotherPlanAndRegistersIt) {
  fake.add_plan(plan("Three", 3));
  Live& live = connect_on("Ten");
  EXPECT_EQ(live.passed(2), 2);
  live.exchange.principal->subscription_plan = "Three";
  EXPECT_TRUE(live.recheck().passes());
  const model::Subject three{model::Subject::Kind::kPlan, "Three"};
  EXPECT_EQ(std::count(live.exchange.subjects.begin(), live.exchange.subjects.end(), three), 1);
  EXPECT_EQ(live.passed(20), 1);
  live.exchange.principal->subscription_plan = "Unlimited";
  EXPECT_TRUE(live.recheck().passes());
  EXPECT_EQ(live.passed(100), 100);
  live.exchange.principal->subscription_plan = "Three";
  EXPECT_TRUE(live.recheck().passes());
  EXPECT_EQ(live.passed(20), 0);
}

TEST_F(ThrottlingTest, KeepsItsPlanUntilTheNextOneHasCome) {
  Live& live = connect_on("Ten");
  EXPECT_EQ(live.passed(2), 2);
  live.exchange.principal->subscription_plan = "Later";
  EXPECT_TRUE(live.recheck().passes());
  EXPECT_EQ(live.passed(20), 8);
  const Verdict refused = connect("Unlimited", "Later", "Unlimited").open();
  ASSERT_EQ(refused.kind(), Kind::kRefuse);
  EXPECT_EQ(refused.detail()->refusal, Refusal::kTokenUnchecked);
  fake.add_plan(plan("Later", 15));
  EXPECT_TRUE(live.recheck().passes());
  EXPECT_EQ(live.passed(20), 5);
  // Now it is taken away.
  fake.plans.erase("Later");
  const Verdict closed = live.recheck();
  ASSERT_EQ(closed.kind(), Kind::kClose);
  EXPECT_EQ(closed.detail()->cause, CloseCause::kPlanWithdrawn);
}

TEST_F(ThrottlingTest, SurvivesARecompileOfItsChain) {
  filter::FilterRegistry registry;
  add_to(registry);
  filter::SharedState shared;
  const auto chain = [&] {
    std::vector<filter::FilterChain::Entry> entries;
    entries.push_back(
        {"throttling", *registry.make("throttling", google::protobuf::Struct(), shared)});
    return std::make_shared<const filter::FilterChain>(std::move(entries));
  };
  filter::Exchange& exchange = connect("Unlimited", "Ten", "Unlimited").exchange;
  filter::FilterInstances filters(chain());
  ASSERT_TRUE(filter::run_task(filters.open(exchange)).passes());
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(filters.data(exchange, kUp).passes());
  }
  filters.adopt(chain());
  exchange.subjects.clear();
  ASSERT_TRUE(filters.recheck(exchange).passes());
  int passed = 0;
  for (int i = 0; i < 20; ++i) {
    passed += filters.data(exchange, kUp).passes() ? 1 : 0;
  }
  EXPECT_EQ(passed, 4);
}

TEST_F(ThrottlingTest, LimitsAPrototypeByItsApiPlanAlone) {
  Live& live = connect("Ten", "", "");
  live.exchange.principal.reset();
  ASSERT_TRUE(live.open().passes());
  EXPECT_EQ(live.passed(20), 10);
}

TEST_F(ThrottlingTest, OpensNoWindowTwiceWhenTheWallClockJumps) {
  Live& live = connect_on("Ten");
  // For each step of a real minute at most ten pass, give or take the window that is under way,
  // whatever the system says the time is.
  const Wall begin = fake.clock.wall();
  std::uint64_t passed = 0;
  Wall system = begin;
  for (int second = 0; second < 1800; ++second) {
    system += seconds(1);
    if (second == 300) {
      system += std::chrono::hours(5);
    }
    if (second == 900) {
      system -= std::chrono::hours(9);
    }
    if (second == 1500) {
      system += std::chrono::hours(4);
    }
    fake.clock.tick(fake.clock.now() + seconds(1), system);
    passed += static_cast<std::uint64_t>(live.passed(3));
  }
  const auto windows = (fake.clock.wall() - begin) / seconds(60) + 2;
  EXPECT_LE(passed, static_cast<std::uint64_t>(windows) * 10);
  EXPECT_LE(windows, 35);  // 30 minutes, slewed by at most a tenth
  EXPECT_GE(passed, 27u * 10);
}

TEST_F(ThrottlingTest, IsExactWithSeveralWorkersOnOneKey) {
  constexpr int kThreads = 4;
  constexpr std::uint64_t kLimit = 50'000;
  fake.add_plan(plan("Many", kLimit));
  fake.add_plan(plan("More", kLimit + 1000));
  std::vector<Live*> connections;
  for (int i = 0; i < kThreads; ++i) {
    Live& live = connect("More", "Many", "More");
    ASSERT_TRUE(live.open().passes());
    connections.push_back(&live);
  }
  std::atomic<std::uint64_t> passed{0};
  std::vector<std::thread> threads;
  for (Live* live : connections) {
    threads.emplace_back([live, &passed] {
      passed.fetch_add(static_cast<std::uint64_t>(live->passed(kLimit / kThreads + 2000)));
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(passed.load(), kLimit);
}

}  // namespace
}  // namespace sluice::filters::throttling
