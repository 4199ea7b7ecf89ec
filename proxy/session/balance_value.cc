#include "proxy/session/balance_value.h"

#include <string>

#include "proxy/http/target.h"
#include "proxy/upstream/balance.h"

namespace sluice::session {
namespace {

std::string value_of(const upstream::HashOn& hash_on, const filter::Exchange& exchange) {
  using Kind = upstream::HashOn::Kind;
  switch (hash_on.kind) {
    case Kind::kHeader:
      return std::string(exchange.request.headers.get(hash_on.name));
    case Kind::kQuery:
      return http::query_value(exchange.query, hash_on.name).value_or("");
    case Kind::kUser:
      if (!exchange.principal) {
        return "";
      }
      return exchange.principal->user.empty() ? exchange.principal->application
                                              : exchange.principal->user;
    case Kind::kAddress:
      return "";
  }
  return "";
}

}  // namespace

std::uint64_t balance_value(const upstream::Cluster& cluster, const filter::Exchange& exchange) {
  if (cluster.balance != upstream::Balance::kConsistentHash) {
    return 0;
  }
  const std::string value = value_of(cluster.hash_on, exchange);
  return upstream::balance_hash(value.empty() ? exchange.client_address : value);
}

}  // namespace sluice::session
