#include "proxy/session/backend_handshake.h"

#include <utility>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/http/body.h"
#include "proxy/http/parse.h"
#include "proxy/net/async_side.h"
#include "proxy/session/backend_request.h"
#include "proxy/session/balance_value.h"
#include "proxy/session/client.h"

namespace sluice::session {
namespace {

using filter::Refusal;

// Only what the relay understands is offered on: permessage-deflate.
websocket::Extensions offer_for_backend(websocket::Extensions offered, bool may_drop) {
  std::erase_if(offered, [](const websocket::Extension& extension) {
    return extension.name != websocket::kPermessageDeflate;
  });
  if (may_drop) {
    websocket::reset_contexts_in_offer(offered);
  }
  return offered;
}

http::RequestHead request_for_backend(const filter::Exchange& exchange,
                                      const model::Endpoint& endpoint, const ClientAsk& ask,
                                      const websocket::Extensions& extensions) {
  http::RequestHead head = request_for(exchange, endpoint);
  head.method = "GET";
  websocket::set_upgrade(head, ask.key, ask.subprotocols, extensions);
  return head;
}

BackendResult failed(Refusal refusal, std::string text) {
  BackendResult result;
  result.failure = refusal;
  result.failure_text = std::move(text);
  return result;
}

BackendResult from_status(const absl::Status& status, std::string_view what) {
  Refused refused = refusal_of_backend(status, what);
  BackendResult result = failed(refused.refusal, std::move(refused.text));
  result.retry_after_s = refused.retry_after_s;
  result.failure_detail = std::move(refused.detail);
  return result;
}

// Reads one response head; interim 1xx answers before it are passed over.
Task<absl::StatusOr<http::ResponseHead>> read_answer(net::AsyncSide& side, Mono deadline) {
  http::HeadScanner scanner;
  while (true) {
    http::ResponseParse parsed =
        http::parse_response_head(side.unread(), limits::kResponseHeadBytesMax, scanner);
    if (parsed.state == http::ParseState::kError) {
      co_return invalid_argument(parsed.error.text);
    }
    if (parsed.state == http::ParseState::kDone) {
      side.consume(parsed.consumed);
      const bool interim = parsed.head.status / 100 == 1 && parsed.head.status != 101;
      if (!interim) {
        co_return std::move(parsed.head);
      }
      scanner = {};
      continue;
    }
    SLUICE_CO_RETURN_IF_ERROR(co_await side.read_more(limits::kResponseHeadBytesMax + 1, deadline));
  }
}

// As much of a refusal's body as the limit allows.
Task<std::string> read_refusal(net::AsyncSide& side, const http::ResponseHead& head,
                               Mono deadline) {
  http::BodyReader reader(http::response_body(head, "GET"), limits::kRefusalBodyBytesMax);
  while (true) {
    std::size_t consumed = 0;
    const http::ParseState state = reader.read(side.unread(), consumed);
    side.consume(consumed);
    if (state != http::ParseState::kNeedMore) {
      break;
    }
    const absl::Status status = co_await side.read_more(limits::kReadBufferBytes, deadline);
    if (!status.ok()) {
      break;
    }
  }
  co_return reader.take_body();
}

// 502, 503 and 504: the endpoint, or what is behind it, is not well.
bool is_gateway_error(int status) { return status >= 502 && status <= 504; }

// One try: asks the endpoint that was dialled for the upgrade.
Task<BackendResult> ask_endpoint(SessionContext& context, const filter::Exchange& exchange,
                                 upstream::Dialled dialled, const ClientAsk& ask) {
  upstream::Lease lease = std::move(dialled.lease);
  const Mono deadline = context.loop->clock().now() + lease.cluster().handshake_timeout;
  net::AsyncSide side(*context.loop, std::move(dialled.connection.side));
  const websocket::Extensions offered = offer_for_backend(ask.extensions, exchange.may_drop);
  const std::string request =
      http::serialize(request_for_backend(exchange, lease.endpoint(), ask, offered));
  const absl::Status written = co_await side.write_all(request, deadline);
  absl::StatusOr<http::ResponseHead> head = unavailable("not asked yet");
  if (written.ok()) {
    head = co_await read_answer(side, deadline);
  } else {
    head = written;
  }
  if (!head.ok()) {
    if (!absl::IsCancelled(head.status())) {
      lease.failed(context.loop->clock().now());
    }
    if (head.status().code() == absl::StatusCode::kInvalidArgument) {
      co_return failed(Refusal::kBackendUnreachable,
                       "The backend's answer to the handshake is not valid HTTP.");
    }
    co_return from_status(head.status(), "handshake");
  }
  BackendResult result;
  result.head = *std::move(head);
  if (result.head.status != 101) {
    result.body = co_await read_refusal(side, result.head, deadline);
    is_gateway_error(result.head.status) ? lease.failed(context.loop->clock().now())
                                         : lease.succeeded();
    co_return result;
  }
  auto answer = websocket::check_upgrade_response(result.head, ask.key, ask.subprotocols, offered);
  if (!answer.ok()) {
    lease.failed(context.loop->clock().now());
    co_return failed(Refusal::kBackendUnreachable,
                     "The backend's 101 is not a WebSocket handshake: " +
                         std::string(message_of(answer.status())) + ".");
  }
  lease.succeeded();
  result.answer = *std::move(answer);
  if (exchange.may_drop) {
    websocket::reset_client_context_in_answer(result.answer.extensions);
  }
  result.side = side.release(result.rest);
  BackendUse use{std::move(lease), std::move(dialled.connection.hold)};
  result.use = std::move(use);
  co_return result;
}

}  // namespace

Task<BackendResult> ask_backend(SessionContext& context, filter::Exchange& exchange,
                                std::shared_ptr<const upstream::Cluster> cluster, ClientAsk ask) {
  const std::uint64_t hash = balance_value(*cluster, exchange);
  upstream::Call call(*context.pool, std::move(cluster), upstream::Use::kWebSocket, hash);
  BackendResult result;
  bool answered = false;
  while (true) {
    auto dialled = co_await call.dial();
    if (!dialled.ok()) {
      log::debug("{}: {}", exchange.id, message_of(dialled.status()));
      // What an endpoint itself has answered says more than that no other could be reached.
      co_return answered ? std::move(result) : from_status(dialled.status(), "connecting");
    }
    exchange.endpoint = dialled->lease.endpoint().url;
    result = co_await ask_endpoint(context, exchange, *std::move(dialled), ask);
    answered = true;
    if (result.side != nullptr || result.failure || !call.may_retry(result.head.status)) {
      co_return result;
    }
  }
}

}  // namespace sluice::session
