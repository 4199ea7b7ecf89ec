#include "proxy/session/forwarded.h"

#include <algorithm>
#include <string>
#include <vector>

namespace sluice::session {
namespace {

constexpr std::size_t kRequestIdBytesMax = 64;

bool trusts(const config::CompiledListener& listener, std::string_view ip) {
  return std::any_of(listener.trusted_hops.begin(), listener.trusted_hops.end(),
                     [&](const config::IpPrefix& prefix) { return prefix.contains(ip); });
}

bool good_id(std::string_view id) {
  return !id.empty() && id.size() <= kRequestIdBytesMax &&
         std::all_of(id.begin(), id.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

}  // namespace

void apply_forwarded(filter::Exchange& exchange, const config::CompiledListener& listener,
                     const net::PeerAddress& peer) {
  http::Headers& headers = exchange.request.headers;
  const bool trusted = trusts(listener, peer.ip);
  exchange.client_address = peer.ip;
  std::string chain;
  if (trusted) {
    const std::vector<std::string_view> hops = headers.tokens("X-Forwarded-For");
    for (auto hop = hops.rbegin(); hop != hops.rend(); ++hop) {
      exchange.client_address = std::string(*hop);
      if (!trusts(listener, *hop)) {
        break;
      }
    }
    for (const std::string_view hop : hops) {
      chain += std::string(hop) + ", ";
    }
    if (const std::string_view id = headers.get("X-Request-Id"); good_id(id)) {
      exchange.id = std::string(id);
    }
  } else {
    headers.remove("Forwarded");
  }
  headers.set("X-Forwarded-For", chain + peer.ip);
  if (!trusted || !headers.has("X-Forwarded-Proto")) {
    headers.set("X-Forwarded-Proto", exchange.tls ? "https" : "http");
  }
  if (!trusted || !headers.has("X-Forwarded-Host")) {
    headers.set("X-Forwarded-Host", std::string(headers.get("Host")));
  }
  headers.set("X-Request-Id", exchange.id);
}

}  // namespace sluice::session
