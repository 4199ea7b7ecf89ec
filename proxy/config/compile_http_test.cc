// What concerns APIs of type HTTP.
#include <gtest/gtest.h>

#include "proxy/config/api_resource.h"
#include "proxy/config/testing.h"

namespace sluice::config {
namespace {

using testing::api;
using testing::CompileTest;
using testing::plan;
using testing::Strings;
using testing::upstream;
using Kind = ResourceMatch::Kind;

std::string http_api(const std::string& more) {
  return "context: '/h' version: 'v1' type: HTTP state: PUBLISHED plans: 'Unlimited' "
         "endpoints { production: 'http://a/' } " +
         more;
}

class CompileHttp : public CompileTest {
 protected:
  const model::Api& served(const std::string& more) {
    give({api("h", http_api(more))});
    return snapshot->find_api("h")->api;
  }
  Strings faults(const std::string& more) { return fields(put({api("bad", http_api(more))})); }
  // PATH for the resource found, or what else came of it.
  static std::string find(const model::Api& api, std::string_view method, std::string_view topic) {
    const ResourceMatch match = find_resource(api, method, topic);
    switch (match.kind) {
      case Kind::kFound:
        return match.resource == nullptr ? "all" : match.resource->path;
      case Kind::kNoPath:
        return "404";
      case Kind::kNoMethod:
        return "405 " + match.allowed;
    }
    return "";
  }
};

TEST_F(CompileHttp, HasTheDefaultsThatItsCommentsSay) {
  const model::Api& h = served("cors {}");
  EXPECT_EQ(h.type, model::ApiType::kHttp);
  EXPECT_EQ(h.http.request_body_bytes_max, 0u);
  EXPECT_EQ(h.http.request_body_timeout, seconds(30));
  EXPECT_EQ(h.http.idle_timeout, seconds(300));
  ASSERT_TRUE(h.cors);
  EXPECT_EQ(h.cors->allowed_methods, "GET, HEAD, POST, PUT, PATCH, DELETE");
  EXPECT_EQ(h.cors->max_age, seconds(600));
  EXPECT_FALSE(h.cors->allow_credentials);
  EXPECT_EQ(h.credential_places.size(), 3u);  // sub-protocols are of WebSockets
  EXPECT_EQ(find(h, "ANY", "/thing"), "all");
}

TEST_F(CompileHttp, WantsEndpointsOfItsType) {
  give({upstream("mixed", "endpoints: 'http://a/' endpoints: 'ws://b/'")});
  EXPECT_EQ(fields(put({api("w", "context: '/w' version: 'v1' endpoints { production: 'ws://a/' "
                                 "production: 'http://b/' sandbox: 'upstream:mixed' }"),
                        api("h", "context: '/h' version: 'v1' type: HTTP endpoints { production: "
                                 "'wss://a/' sandbox: 'upstream:mixed' }")})),
            (Strings{"Api w: spec.endpoints.production[1]", "Api w: spec.endpoints.sandbox[0]",
                     "Api h: spec.endpoints.production[0]", "Api h: spec.endpoints.sandbox[0]"}));
}

TEST_F(CompileHttp, RefusesFieldsOfTheOtherType) {
  EXPECT_EQ(faults("limits {} refuse_by: 'close' close_codes: 'standard' throttle_notice: 'x'"),
            (Strings{"Api bad: spec.limits", "Api bad: spec.refuse_by", "Api bad: spec.close_codes",
                     "Api bad: spec.throttle_notice"}));
  EXPECT_EQ(fields(put({api("w", "context: '/w' version: 'v1' http {} cors {} "
                                 "resources { path: '/' }")})),
            (Strings{"Api w: spec.http", "Api w: spec.cors", "Api w: spec.resources"}));
}

TEST_F(CompileHttp, NamesWhatIsWrongWithCors) {
  EXPECT_EQ(faults("cors { allowed_methods: 'get' allowed_headers: 'a b' exposed_headers: '*' "
                   "allow_credentials: true max_age { seconds: -1 } }"),
            (Strings{"Api bad: spec.cors.allowed_methods[0]",
                     "Api bad: spec.cors.allowed_headers[0]",
                     "Api bad: spec.cors.exposed_headers[0]",
                     "Api bad: spec.cors.allow_credentials", "Api bad: spec.cors.max_age"}));
}

TEST_F(CompileHttp, NamesWhatIsWrongWithResources) {
  EXPECT_EQ(
      faults("resources { path: 'x' } resources { path: '/a/*/b' } resources { path: '/a//b' } "
             "resources { path: '/a;b' } resources { path: '/..' } resources { path: '/{}' } "
             "resources { path: '/ok' methods: 'GET' plan: 'None' scopes: 's' auth: 'none' } "
             "resources { path: '/ok' methods: 'G T' auth: 'maybe' } resources { path: '/ok' } "),
      (Strings{"Api bad: spec.resources[0].path", "Api bad: spec.resources[1].path",
               "Api bad: spec.resources[2].path", "Api bad: spec.resources[3].path",
               "Api bad: spec.resources[4].path", "Api bad: spec.resources[5].path",
               "Api bad: spec.resources[6].scopes", "Api bad: spec.resources[6].plan",
               "Api bad: spec.resources[7].methods[0]", "Api bad: spec.resources[7].auth",
               "Api bad: spec.resources[8].path", "Api bad: spec.resources[8].path"}));
}

TEST_F(CompileHttp, KeepsAPlanThatAResourceUses) {
  give({plan("P", "messages: 1"), api("h", http_api("resources { path: '/' plan: 'P' }"))});
  EXPECT_EQ(fields(remove({{config::Kind::kPlan, "P"}})), (Strings{"Plan P: "}));
}

TEST_F(CompileHttp, FindsTheMostSpecificResource) {
  const model::Api& h = served(
      "resources { path: '/*' auth: 'none' } resources { path: '/orders/{id}' methods: 'GET' } "
      "resources { path: '/orders/{id}' methods: 'PUT' methods: 'DELETE' } "
      "resources { path: '/orders/new' methods: 'POST' } resources { path: '/files/{x}/*' }");
  EXPECT_EQ(find(h, "GET", "/orders/7"), "/orders/{id}");
  EXPECT_EQ(find(h, "HEAD", "/orders/7"), "/orders/{id}");
  EXPECT_EQ(find(h, "GET", "/orders/7/"), "/orders/{id}");
  EXPECT_EQ(find(h, "DELETE", "/orders/7"), "/orders/{id}");
  EXPECT_EQ(find(h, "POST", "/orders/7"), "405 GET, PUT, DELETE");
  EXPECT_EQ(find(h, "POST", "/orders/new"), "/orders/new");
  EXPECT_EQ(find(h, "GET", "/orders/new"), "405 POST") << "a less specific one lends nothing";
  EXPECT_EQ(find(h, "GET", "/files/a"), "/files/{x}/*");
  EXPECT_EQ(find(h, "GET", "/files/a/b/c"), "/files/{x}/*");
  EXPECT_EQ(find(h, "GET", "/files"), "/*");
  EXPECT_EQ(find(h, "GET", ""), "/*");
  EXPECT_EQ(find(h, "GET", "/orders"), "/*");
}

TEST_F(CompileHttp, HasNoOtherPathsThanItsResources) {
  const model::Api& h = served("resources { path: '/' methods: 'GET' } resources { path: '/a' }");
  EXPECT_EQ(find(h, "GET", ""), "/");
  EXPECT_EQ(find(h, "GET", "/"), "/");
  EXPECT_EQ(find(h, "GET", "/b"), "404");
  EXPECT_EQ(find(h, "GET", "/a/b"), "404");
  EXPECT_EQ(find(h, "get", "/"), "405 GET") << "methods have case";
}

}  // namespace
}  // namespace sluice::config
