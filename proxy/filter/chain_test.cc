#include "proxy/filter/chain.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "proxy/filter/test_support.h"

namespace sluice::filter {
namespace {

using Trace = std::vector<std::string>;

// Writes down each call; does not pass the hook that it is told to fail.
class TraceFilter final : public Filter {
 public:
  TraceFilter(std::string name, std::string fails, Trace& trace)
      : name_(std::move(name)), fails_(std::move(fails)), trace_(trace) {}

  Task<Verdict> open(Exchange&) override {
    trace_.push_back(name_ + ".open");
    if (fails_ == "open") {
      co_return Verdict::refuse(Refusal::kNoCredential, "none");
    }
    co_return Verdict::pass();
  }
  void reply(Exchange&, http::ResponseHead&) override { trace_.push_back(name_ + ".reply"); }
  Verdict data(Exchange&, const DataUnit&) override {
    trace_.push_back(name_ + ".data");
    return fails_ == "data" ? Verdict::drop() : Verdict::pass();
  }
  void undo(Exchange&, const DataUnit&) override { trace_.push_back(name_ + ".undo"); }
  Verdict recheck(Exchange& exchange) override {
    trace_.push_back(name_ + ".recheck");
    exchange.depends_on(model::Subject::Kind::kPlan, name_);
    return fails_ == "recheck" ? Verdict::close(CloseCause::kTokenExpired) : Verdict::pass();
  }
  void close(Exchange&) override { trace_.push_back(name_ + ".close"); }

 private:
  std::string name_;
  std::string fails_;
  Trace& trace_;
};

class TraceFactory final : public FilterFactory {
 public:
  TraceFactory(std::string name, Hooks hooks, Trace& trace, std::string fails = "")
      : name_(std::move(name)), fails_(std::move(fails)), hooks_(hooks), trace_(trace) {}
  Hooks hooks() const override { return hooks_; }
  std::unique_ptr<Filter> make() const override {
    return std::make_unique<TraceFilter>(name_, fails_, trace_);
  }

 private:
  std::string name_;
  std::string fails_;
  Hooks hooks_;
  Trace& trace_;
};

constexpr Hooks kAll{true, true, true, true, true};

class ChainTest : public testing::Test {
 protected:
  FilterChain::Entry entry(std::string name, Hooks hooks = kAll, std::string fails = "") {
    return {name, std::make_shared<TraceFactory>(name, hooks, trace, std::move(fails))};
  }
  static std::shared_ptr<const FilterChain> chain(std::vector<FilterChain::Entry> entries) {
    return std::make_shared<const FilterChain>(std::move(entries));
  }
  Verdict open(FilterInstances& filters) { return run_task(filters.open(exchange)); }
  Trace take() { return std::exchange(trace, {}); }

  Trace trace;
  Exchange exchange;
  DataUnit up{Direction::kUp, websocket::Opcode::kText, true, true, 5};
  DataUnit down{Direction::kDown, websocket::Opcode::kText, true, true, 5};
};

TEST_F(ChainTest, CallsHooksInTheirOrder) {
  FilterInstances filters(chain({entry("a"), entry("b"), entry("c")}));
  EXPECT_TRUE(open(filters).passes());
  EXPECT_EQ(take(), (Trace{"a.open", "b.open", "c.open"}));
  http::ResponseHead head;
  filters.reply(exchange, head);
  EXPECT_EQ(take(), (Trace{"c.reply", "b.reply", "a.reply"}));
  EXPECT_TRUE(filters.data(exchange, up).passes());
  EXPECT_EQ(take(), (Trace{"a.data", "b.data", "c.data"}));
  EXPECT_TRUE(filters.data(exchange, down).passes());
  EXPECT_EQ(take(), (Trace{"c.data", "b.data", "a.data"}));
  exchange.recheck_at = Wall(seconds(1));
  EXPECT_TRUE(filters.recheck(exchange).passes());
  EXPECT_EQ(take(), (Trace{"a.recheck", "b.recheck", "c.recheck"}));
  EXPECT_EQ(exchange.recheck_at, Wall::max());
  EXPECT_EQ(exchange.subjects.size(), 3u);
  filters.close(exchange);
  EXPECT_EQ(take(), (Trace{"a.close", "b.close", "c.close"}));
}

TEST_F(ChainTest, PaysOnlyForHooksThatAFilterHas) {
  FilterInstances filters(chain({entry("a", {.open = true}), entry("b", {.data = true})}));
  EXPECT_TRUE(filters.has_data_hooks());
  open(filters);
  filters.data(exchange, up);
  filters.recheck(exchange);
  filters.close(exchange);
  EXPECT_EQ(take(), (Trace{"a.open", "b.data"}));
  FilterInstances without(chain({entry("a", {.open = true})}));
  EXPECT_FALSE(without.has_data_hooks());
  EXPECT_TRUE(without.data(exchange, up).passes());
}

TEST_F(ChainTest, StopsAtTheFirstThatDoesNotPass) {
  FilterInstances filters(chain({entry("a"), entry("b", kAll, "open"), entry("c")}));
  const Verdict verdict = open(filters);
  EXPECT_EQ(verdict.kind(), Verdict::Kind::kRefuse);
  EXPECT_EQ(verdict.detail()->refusal, Refusal::kNoCredential);
  EXPECT_EQ(take(), (Trace{"a.open", "b.open"}));
  FilterInstances rechecked(chain({entry("a", kAll, "recheck"), entry("b")}));
  EXPECT_EQ(rechecked.recheck(exchange).kind(), Verdict::Kind::kClose);
  EXPECT_EQ(take(), (Trace{"a.recheck"}));
}

TEST_F(ChainTest, UndoesThoseThatWereAskedBeforeOneThatDidNotPass) {
  FilterInstances filters(chain({entry("a"), entry("b", kAll, "data"), entry("c")}));
  EXPECT_EQ(filters.data(exchange, up).kind(), Verdict::Kind::kDrop);
  EXPECT_EQ(take(), (Trace{"a.data", "b.data", "a.undo"}));
  EXPECT_EQ(filters.data(exchange, down).kind(), Verdict::Kind::kDrop);
  EXPECT_EQ(take(), (Trace{"c.data", "b.data", "c.undo"}));
}

TEST_F(ChainTest, AdoptsChangedSettingsAndKeepsItsShape) {
  const FilterChain::Entry a = entry("a");
  FilterInstances filters(chain({a, entry("b")}));
  filters.adopt(chain({entry("x"), entry("b", kAll, "data"), a}));
  EXPECT_EQ(filters.data(exchange, up).kind(), Verdict::Kind::kDrop);
  EXPECT_EQ(take(), (Trace{"a.data", "b.data", "a.undo"}));
  // The same shape, with a factory that has lost its data hook.
  filters.adopt(chain({a, entry("b", {.close = true})}));
  EXPECT_TRUE(filters.data(exchange, up).passes());
  EXPECT_EQ(take(), (Trace{"a.data"}));
  filters.adopt(chain({}));
  EXPECT_TRUE(filters.data(exchange, up).passes());
  EXPECT_EQ(take(), (Trace{"a.data"}));
}

}  // namespace
}  // namespace sluice::filter
