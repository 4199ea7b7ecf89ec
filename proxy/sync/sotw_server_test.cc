#include "proxy/sync/sotw_server.h"

#include <gtest/gtest.h>

#include <initializer_list>

#include "proxy/sync/test_world.h"

namespace sluice::sync {
namespace {

using Request = xds::DiscoveryRequest;
using Response = xds::DiscoveryResponse;

const std::string kApi(config::type_url(config::Kind::kApi));
const std::string kPlan(config::type_url(config::Kind::kPlan));

class SotwServer : public ::testing::Test {
 protected:
  Request request(std::initializer_list<const char*> names, const std::string& nonce = "") {
    Request request;
    request.set_type_url(kApi);
    request.set_response_nonce(nonce);
    for (const char* name : names) {
      request.add_resource_names(name);
    }
    return request;
  }
  void send(const Request& request) { ASSERT_TRUE(stream.on_request(request).ok()); }
  void put(const char* name, const char* bytes) {
    world.put(kApi, name, bytes);
    const ResourceChange change{kApi, name};
    stream.on_changes(++revision, {&change, 1});
  }
  std::string next() {
    const auto response = stream.next();
    if (!response) {
      return "nothing";
    }
    nonce = response->nonce();
    version = response->version_info();
    std::string text;
    for (const auto& any : response->resources()) {
      xds::Resource resource;
      EXPECT_TRUE(any.UnpackTo(&resource));
      EXPECT_EQ(resource.resource().type_url(), kApi);
      text += "+" + resource.name();
    }
    for (const auto& error : response->resource_errors()) {
      text += "!" + error.resource_name().name();
    }
    return text;
  }

  TestWorld world;
  std::int64_t revision = 5;
  SotwServerStream stream{world.view(), revision, {}};
  std::string nonce;
  std::string version;
};

TEST_F(SotwServer, SendsTheWholeStateEachTime) {
  world.put(kApi, "a", "1");
  send(request({}));
  EXPECT_EQ(next(), "+a");
  send(request({}, nonce));
  EXPECT_EQ(next(), "nothing");
  put("b", "1");
  EXPECT_EQ(next(), "+a+b");
}

TEST_F(SotwServer, WaitsForTheAnswerBeforeTheNextState) {
  send(request({}));
  EXPECT_EQ(next(), "");
  put("a", "1");
  EXPECT_EQ(next(), "nothing");
  EXPECT_EQ(stream.acknowledged_revision(), 0);
  send(request({}, nonce));
  EXPECT_EQ(next(), "+a");
  send(request({}, nonce));
  EXPECT_EQ(stream.acknowledged_revision(), 6);
}

TEST_F(SotwServer, ResendsNothingUnchanged) {
  world.put(kApi, "a", "1");
  send(request({}));
  EXPECT_EQ(next(), "+a");
  send(request({}, nonce));
  put("a", "1");
  EXPECT_EQ(next(), "nothing");
  EXPECT_EQ(stream.acknowledged_revision(), revision);
}

TEST_F(SotwServer, IgnoresStaleNonces) {
  world.put(kApi, "a", "1");
  send(request({}));
  EXPECT_EQ(next(), "+a");
  send(request({"x"}, "old"));
  EXPECT_EQ(next(), "nothing");
  EXPECT_TRUE(stream.subscribed(kApi, "a"));
}

TEST_F(SotwServer, DropsALegacyWildcardWhenSomethingIsNamed) {
  world.put(kApi, "a", "1");
  world.put(kApi, "b", "1");
  send(request({}));
  EXPECT_EQ(next(), "+a+b");
  send(request({"a"}, nonce));
  EXPECT_EQ(next(), "+a");
  send(request({"a"}, nonce));
  put("b", "2");
  EXPECT_EQ(next(), "nothing");
  send(request({}, nonce));  // now it means nothing
  put("a", "2");
  EXPECT_EQ(next(), "nothing");
}

TEST_F(SotwServer, SendsNewlyNamedAndTellsWhatIsMissing) {
  world.put(kApi, "a", "1");
  send(request({"a"}));
  EXPECT_EQ(next(), "+a");
  send(request({"a", "x"}, nonce));
  EXPECT_EQ(next(), "+a!x");
  send(request({"a", "x"}, nonce));
  put("x", "1");
  EXPECT_EQ(next(), "+a+x");
}

TEST_F(SotwServer, TakesErrorDetailForANackAndDoesNotRepeatTheState) {
  world.put(kApi, "a", "1");
  send(request({}));
  EXPECT_EQ(next(), "+a");
  Request nack = request({}, nonce);
  nack.set_version_info(version);  // says nothing
  nack.mutable_error_detail()->set_message("no");
  send(nack);
  ASSERT_EQ(stream.refusals().size(), 1U);
  EXPECT_EQ(stream.refusals()[0].reason(), "no");
  EXPECT_EQ(next(), "nothing");
  put("a", "2");
  EXPECT_EQ(next(), "+a");
  send(request({}, nonce));
  EXPECT_TRUE(stream.refusals().empty());
}

TEST_F(SotwServer, RefusesARequestWithoutAType) {
  EXPECT_FALSE(stream.on_request(Request()).ok());
}

}  // namespace
}  // namespace sluice::sync
