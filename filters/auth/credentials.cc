#include "filters/auth/credentials.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "proxy/base/limits.h"
#include "proxy/http/target.h"

namespace sluice::filters::auth {
namespace {

using model::CredentialPlace;

constexpr std::string_view kProtocolHeader = "Sec-WebSocket-Protocol";
constexpr std::string_view kBearerProtocol = "sluice.bearer";

class Taker {
 public:
  explicit Taker(filter::Exchange& exchange) : exchange_(exchange) {}

  void take(CredentialPlace place) {
    switch (place) {
      case CredentialPlace::kAuthorization:
        take_authorization();
        break;
      case CredentialPlace::kSubprotocol:
        take_subprotocol();
        break;
      case CredentialPlace::kAccessToken:
        take_query("access_token");
        break;
      case CredentialPlace::kApiKey:
        take_header("apikey");
        take_query("apikey");
        break;
    }
  }
  std::vector<std::string> found() && { return std::move(found_); }

 private:
  http::Headers& headers() { return exchange_.request.headers; }

  void add(std::string_view value) {
    std::string credential(value.size() <= limits::kCredentialBytesMax ? value : "");
    if (std::find(found_.begin(), found_.end(), credential) == found_.end()) {
      found_.push_back(std::move(credential));
    }
  }

  // Another scheme than Bearer is the backend's own matter.
  void take_authorization() {
    headers().remove_if([this](std::string_view name, std::string_view value) {
      constexpr std::string_view kScheme = "bearer";
      if (!http::equal_ignoring_case(name, "authorization") ||
          !http::equal_ignoring_case(value.substr(0, kScheme.size()), kScheme) ||
          (value.size() > kScheme.size() && value[kScheme.size()] != ' ')) {
        return false;
      }
      add(http::trim(value.substr(kScheme.size())));
      return true;
    });
  }

  // `sluice.bearer, <token>[, real sub-protocols]`: the two are taken out wherever they stand.
  void take_subprotocol() {
    const std::vector<std::string_view> offered = headers().tokens(kProtocolHeader);
    if (std::find(offered.begin(), offered.end(), kBearerProtocol) == offered.end()) {
      return;
    }
    std::string rest;
    for (std::size_t i = 0; i < offered.size(); ++i) {
      if (offered[i] == kBearerProtocol) {
        ++i;
        add(i < offered.size() ? offered[i] : "");
        continue;
      }
      rest += rest.empty() ? "" : ", ";
      rest += offered[i];
    }
    if (rest.empty()) {
      headers().remove(kProtocolHeader);
      exchange_.answer_subprotocol = kBearerProtocol;
    } else {
      headers().set(kProtocolHeader, rest);
    }
  }

  void take_header(std::string_view wanted) {
    for (const std::string_view value : headers().all(wanted)) {
      add(value);
    }
    headers().remove(wanted);
  }

  void take_query(std::string_view parameter) {
    for (const std::string& value : http::query_values(exchange_.query, parameter)) {
      add(value);
    }
    exchange_.query = http::remove_parameter(exchange_.query, parameter);
    std::string& target = exchange_.request.target;
    if (const std::size_t mark = target.find('?'); mark != std::string::npos) {
      target = http::format_target(
          target.substr(0, mark),
          http::remove_parameter(std::string_view(target).substr(mark + 1), parameter));
    }
  }

  filter::Exchange& exchange_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> take_credentials(filter::Exchange& exchange) {
  Taker taker(exchange);
  for (const CredentialPlace place : exchange.api->credential_places) {
    taker.take(place);
  }
  return std::move(taker).found();
}

}  // namespace sluice::filters::auth
