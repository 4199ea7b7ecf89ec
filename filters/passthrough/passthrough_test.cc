#include "filters/passthrough/passthrough.h"

#include <gtest/gtest.h>

#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "proxy/filter/test_support.h"

namespace sluice::filters::passthrough {
namespace {

absl::StatusOr<std::shared_ptr<const filter::FilterFactory>> make(const std::string& json) {
  google::protobuf::Struct config;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &config).ok());
  filter::FilterRegistry registry;
  add_to(registry);
  filter::SharedState shared;
  return registry.make("passthrough", config, shared);
}

TEST(Passthrough, HasNoHookWithoutSettings) {
  const auto factory = make("{}");
  ASSERT_TRUE(factory.ok());
  EXPECT_FALSE((*factory)->hooks().open);
  EXPECT_FALSE((*factory)->hooks().data);
}

TEST(Passthrough, RemovesAndSetsHeaders) {
  const auto factory = make(R"({"remove_headers": ["Cookie"], "set_headers": {"X-Team": "blue"}})");
  ASSERT_TRUE(factory.ok());
  ASSERT_TRUE((*factory)->hooks().open);
  filter::Exchange exchange;
  exchange.request.headers.add("cookie", "a=b");
  exchange.request.headers.add("x-team", "red");
  exchange.request.headers.add("X-Team", "green");
  exchange.request.headers.add("Origin", "https://a.example");
  const std::unique_ptr<filter::Filter> one = (*factory)->make();
  EXPECT_TRUE(filter::run_task(one->open(exchange)).passes());
  EXPECT_FALSE(exchange.request.headers.has("Cookie"));
  EXPECT_EQ(exchange.request.headers.count("X-Team"), 1u);
  EXPECT_EQ(exchange.request.headers.get("X-Team"), "blue");
  EXPECT_EQ(exchange.request.headers.get("Origin"), "https://a.example");
}

TEST(Passthrough, RefusesSettingsThatWouldBreakTheHandshake) {
  EXPECT_EQ(message_of(make(R"({"remove_headers": ["Host"]})").status()),
            "config.remove_headers[0]: the proxy itself makes the header `Host`");
  EXPECT_FALSE(make(R"({"set_headers": {"Sec-WebSocket-Key": "x"}})").ok());
  EXPECT_FALSE(make(R"({"set_headers": {"X Y": "x"}})").ok());
  EXPECT_FALSE(make(R"({"set_headers": {"X-Y": "a\r\nb: c"}})").ok());
  EXPECT_EQ(message_of(make(R"({"drop_headers": []})").status()),
            "config.drop_headers: there is no such field");
}

}  // namespace
}  // namespace sluice::filters::passthrough
