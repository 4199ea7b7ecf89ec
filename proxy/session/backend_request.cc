#include "proxy/session/backend_request.h"

#include <string>

#include "proxy/http/target.h"

namespace sluice::session {
namespace {

std::string join_path(std::string_view base, std::string_view topic) {
  std::string out(base);
  if (topic.empty()) {
    return out;
  }
  while (out.ends_with('/')) {
    out.pop_back();
  }
  return out.append(topic);
}

}  // namespace

http::RequestHead request_for(const filter::Exchange& exchange, const model::Endpoint& endpoint) {
  http::RequestHead head;
  head.method = exchange.request.method;
  head.target = http::format_target(join_path(endpoint.path, exchange.topic), exchange.query);
  head.headers = exchange.request.headers;
  http::remove_hop_by_hop(head.headers);
  head.headers.set("Host", endpoint.authority);
  return head;
}

}  // namespace sluice::session
