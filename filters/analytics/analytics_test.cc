#include "filters/analytics/analytics.h"

#include <gtest/gtest.h>

#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "proxy/filter/test_support.h"

namespace sluice::filters::analytics {
namespace {

using telemetry::Account;
using telemetry::Part;

class AnalyticsTest : public testing::Test {
 protected:
  AnalyticsTest() {
    fake.services.open_account = [this](const telemetry::Facts& f) -> Account* {
      facts = f;
      return slot_free ? &slot : nullptr;
    };
    fake.services.close_account = [this](Account* account, const telemetry::Ending& e) {
      EXPECT_EQ(account, &slot);
      ending = e;
      ++closed;
    };
    exchange.services = &fake.services;
    exchange.id = "id-1";
    exchange.listener = "ws";
    exchange.client_address = "192.0.2.7";
    exchange.endpoint = "ws://backend/";
    exchange.topic = "/room";
    exchange.handshake_us = 1234;
    exchange.request.headers.add("User-Agent", "wscat");
    model::Api api;
    api.name = "echo-v1";
    api.version = "v1.0";
    exchange.api = std::make_shared<const model::Api>(api);
    model::Principal principal;
    principal.application = "shop";
    principal.subscription_plan = "Gold";
    principal.user = "ann";
    principal.key_type = model::KeyType::kSandbox;
    exchange.principal = principal;
  }
  std::unique_ptr<filter::Filter> make(const std::string& json = "{}") {
    google::protobuf::Struct config;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &config).ok());
    filter::FilterRegistry registry;
    add_to(registry);
    filter::SharedState shared;
    return (*registry.make("analytics", config, shared))->make();
  }
  void reply(filter::Filter& filter, int status) {
    http::ResponseHead head;
    head.status = status;
    exchange.ending.status = status;
    filter.reply(exchange, head);
  }

  filter::FakeServices fake;
  filter::Exchange exchange;
  Account slot;
  bool slot_free = true;
  telemetry::Facts facts;
  telemetry::Ending ending;
  int closed = 0;
};

TEST_F(AnalyticsTest, KeepsAnAccountFromTheReplyToTheEnd) {
  const auto filter = make();
  reply(*filter, 101);
  EXPECT_EQ(exchange.account, &slot);
  EXPECT_EQ(facts.connection_id, "id-1");
  EXPECT_EQ(facts.api, "echo-v1");
  EXPECT_EQ(facts.api_version, "v1.0");
  EXPECT_EQ(facts.application, "shop");
  EXPECT_EQ(facts.plan, "Gold");
  EXPECT_EQ(facts.user, "ann");
  EXPECT_EQ(facts.key_type, model::KeyType::kSandbox);
  EXPECT_EQ(facts.user_agent, "wscat");
  EXPECT_EQ(facts.topic, "/room");
  EXPECT_EQ(facts.endpoint, "ws://backend/");
  EXPECT_EQ(facts.handshake_us, 1234u);
  exchange.ending.close_code = 4001;
  filter->close(exchange);
  EXPECT_EQ(closed, 1);
  EXPECT_EQ(ending.close_code, 4001);
  EXPECT_EQ(exchange.account, nullptr);
  EXPECT_TRUE(fake.emitted.empty());
}

TEST_F(AnalyticsTest, RecordsARefusal) {
  const auto filter = make();
  exchange.ending.status = 401;
  exchange.ending.refusal_code = 900901;
  exchange.ending.reason = "The access token is not known.";
  exchange.ending.close_side = telemetry::CloseSide::kProxy;
  filter->close(exchange);
  ASSERT_EQ(fake.emitted.size(), 1u);
  const telemetry::Record& record = fake.emitted[0];
  EXPECT_EQ(record.part, Part::kRefused);
  EXPECT_EQ(record.status, 401);
  EXPECT_EQ(record.code, 900901);
  EXPECT_EQ(record.reason, "The access token is not known.");
  EXPECT_EQ(record.facts.connection_id, "id-1");
  EXPECT_EQ(record.end, fake.clock.wall());
  EXPECT_EQ(record.counts, telemetry::Counts{});
  EXPECT_EQ(closed, 0);
}

TEST_F(AnalyticsTest, RecordsABackendsRefusalAndOneByClose) {
  const auto filter = make();
  reply(*filter, 403);
  EXPECT_EQ(exchange.account, nullptr);
  filter->close(exchange);
  ASSERT_EQ(fake.emitted.size(), 1u);
  EXPECT_EQ(fake.emitted[0].part, Part::kRefused);
  EXPECT_EQ(fake.emitted[0].code, 0);
  // refuse_by: close upgrades the client alone, without reply hooks.
  exchange.ending.status = 101;
  exchange.ending.refusal_code = 900901;
  exchange.ending.close_code = 4001;
  filter->close(exchange);
  ASSERT_EQ(fake.emitted.size(), 2u);
  EXPECT_EQ(fake.emitted[1].part, Part::kRefused);
  EXPECT_EQ(fake.emitted[1].close_code, 4001);
}

TEST_F(AnalyticsTest, SaysNothingOfRefusalsWhereToldSo) {
  const auto filter = make(R"({"refused": false})");
  exchange.ending.status = 401;
  filter->close(exchange);
  EXPECT_TRUE(fake.emitted.empty());
}

TEST_F(AnalyticsTest, SaysNothingOfAClientThatLeftBeforeAnAnswer) {
  make()->close(exchange);
  EXPECT_TRUE(fake.emitted.empty());
}

TEST_F(AnalyticsTest, CountsInMemoryWhereNoSlotIsFree) {
  slot_free = false;
  auto filter = make();
  reply(*filter, 101);
  ASSERT_NE(exchange.account, nullptr);
  Account::add(exchange.account->messages_up, 3);
  Account::add(exchange.account->bytes_down, 70);
  filter = make();  // an edit of its settings makes the object anew
  filter->close(exchange);
  ASSERT_EQ(fake.emitted.size(), 1u);
  EXPECT_EQ(fake.emitted[0].part, Part::kFinal);
  EXPECT_EQ(fake.emitted[0].counts.messages_up, 3u);
  EXPECT_EQ(fake.emitted[0].counts.bytes_down, 70u);
  EXPECT_EQ(closed, 0);
}

}  // namespace
}  // namespace sluice::filters::analytics
