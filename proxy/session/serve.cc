#include "proxy/session/serve.h"

#include <utility>

#include "proxy/net/connect.h"
#include "proxy/session/handshake.h"
#include "proxy/session/http_request.h"

namespace sluice::session {
namespace {

bool is_http(const Connection& connection) {
  return connection.api() != nullptr && connection.api()->api.type == model::ApiType::kHttp;
}

}  // namespace

Task<void> serve(SessionContext& context, std::unique_ptr<net::Side> side,
                 std::shared_ptr<const config::CompiledListener> listener) {
  const Mono deadline = context.loop->clock().now() + listener->request_head_timeout;
  if (listener->tls != nullptr) {
    auto secure = co_await net::tls_accept(*context.loop, std::move(side), listener->tls, deadline);
    if (!secure.ok()) {
      ++context.counters->tls_failures;
      co_return;
    }
    side = *std::move(secure);
  }
  Client client(context, std::move(side), std::move(listener), deadline);
  bool more = true;
  while (more) {
    http::RequestHead head;
    std::optional<Refused> refused = co_await client.read_head(head);
    if (client.gone()) {
      co_return;
    }
    auto connection = std::make_unique<Connection>(context);
    connection->exchange().request = std::move(head);
    if (!refused) {
      refused = client.route(*connection);
    }
    if (!is_http(*connection)) {
      co_await shake_hands(client, std::move(connection), std::move(refused));
      co_return;
    }
    client.begin_request();
    more = co_await serve_request(client, std::move(connection));
  }
}

}  // namespace sluice::session
