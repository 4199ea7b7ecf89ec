#include "proxy/session/cors.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace sluice::session {

bool is_preflight(const http::RequestHead& request) {
  return request.method == "OPTIONS" && request.headers.has("Origin") &&
         request.headers.has("Access-Control-Request-Method");
}

bool origin_allowed(const model::Api& api, const http::Headers& request) {
  const auto origin = request.find("Origin");
  return !origin || api.allowed_origins.empty() ||
         std::any_of(
             api.allowed_origins.begin(), api.allowed_origins.end(),
             [&](const std::string& one) { return http::equal_ignoring_case(one, *origin); });
}

http::ResponseHead preflight_answer(const model::Api& api, const http::Headers& request) {
  http::ResponseHead head;
  head.status = 204;
  set_cors(api, request, head.headers);
  head.headers.add("Access-Control-Allow-Methods", api.cors->allowed_methods);
  head.headers.add("Access-Control-Allow-Headers", api.cors->allowed_headers);
  head.headers.add("Access-Control-Max-Age",
                   fmt::format("{}", duration_cast<seconds>(api.cors->max_age).count()));
  return head;
}

void set_cors(const model::Api& api, const http::Headers& request, http::Headers& response) {
  response.remove_if([](std::string_view name, std::string_view) {
    constexpr std::string_view kPrefix = "Access-Control-";
    return http::equal_ignoring_case(name.substr(0, kPrefix.size()), kPrefix);
  });
  const bool every = api.allowed_origins.empty();
  if (!every) {
    response.add("Vary", "Origin");  // a cache must not give one origin's answer to another
  }
  const auto origin = request.find("Origin");
  if (!origin || !origin_allowed(api, request)) {
    return;
  }
  response.add("Access-Control-Allow-Origin", every ? std::string_view("*") : *origin);
  if (api.cors->allow_credentials) {
    response.add("Access-Control-Allow-Credentials", "true");
  }
  response.add("Access-Control-Expose-Headers", api.cors->exposed_headers);
}

}  // namespace sluice::session
