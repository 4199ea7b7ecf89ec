#include "proxy/session/cors.h"

#include <gtest/gtest.h>

namespace sluice::session {
namespace {

model::Api api_for(std::vector<std::string> origins, bool credentials = false) {
  model::Api api;
  api.allowed_origins = std::move(origins);
  api.cors.emplace();
  api.cors->allowed_methods = "GET, PUT";
  api.cors->allowed_headers = "Authorization";
  api.cors->exposed_headers = "X-Total";
  api.cors->allow_credentials = credentials;
  return api;
}

http::Headers from(std::string_view origin) {
  http::Headers headers;
  headers.add("Origin", origin);
  return headers;
}

TEST(Cors, KnowsAPreflight) {
  http::RequestHead head;
  head.method = "OPTIONS";
  head.headers = from("https://a");
  EXPECT_FALSE(is_preflight(head));
  head.headers.add("Access-Control-Request-Method", "PUT");
  EXPECT_TRUE(is_preflight(head));
  head.method = "GET";
  EXPECT_FALSE(is_preflight(head));
}

TEST(Cors, AllowsListedOriginsWithoutCaseAndAllWithoutAList) {
  const model::Api some = api_for({"https://a.example"});
  EXPECT_TRUE(origin_allowed(some, from("HTTPS://A.example")));
  EXPECT_FALSE(origin_allowed(some, from("https://a.example.evil")));
  EXPECT_FALSE(origin_allowed(some, from("null")));
  EXPECT_TRUE(origin_allowed(some, http::Headers()));
  EXPECT_TRUE(origin_allowed(api_for({}), from("https://b")));
}

TEST(Cors, AnswersAPreflight) {
  const http::ResponseHead head = preflight_answer(api_for({"https://a"}, true), from("https://a"));
  EXPECT_EQ(head.status, 204);
  EXPECT_EQ(head.headers.get("Access-Control-Allow-Origin"), "https://a");
  EXPECT_EQ(head.headers.get("Access-Control-Allow-Credentials"), "true");
  EXPECT_EQ(head.headers.get("Access-Control-Allow-Methods"), "GET, PUT");
  EXPECT_EQ(head.headers.get("Access-Control-Allow-Headers"), "Authorization");
  EXPECT_EQ(head.headers.get("Access-Control-Max-Age"), "600");
  EXPECT_EQ(head.headers.get("Vary"), "Origin");
}

TEST(Cors, ReplacesWhatTheBackendSays) {
  http::Headers response;
  response.add("access-control-allow-origin", "*");
  response.add("Access-Control-Allow-Credentials", "true");
  response.add("X-Total", "3");
  set_cors(api_for({"https://a"}), from("https://evil"), response);
  EXPECT_FALSE(response.has("Access-Control-Allow-Origin"));
  EXPECT_FALSE(response.has("Access-Control-Allow-Credentials"));
  EXPECT_EQ(response.get("X-Total"), "3");
  set_cors(api_for({}), from("https://any"), response);
  EXPECT_EQ(response.get("Access-Control-Allow-Origin"), "*");
  EXPECT_EQ(response.get("Access-Control-Expose-Headers"), "X-Total");
}

}  // namespace
}  // namespace sluice::session
