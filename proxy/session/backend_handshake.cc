#include "proxy/session/backend_handshake.h"

#include <utility>

#include "proxy/base/limits.h"
#include "proxy/http/body.h"
#include "proxy/http/parse.h"
#include "proxy/http/target.h"
#include "proxy/net/async_side.h"

namespace sluice::session {
namespace {

using filter::Refusal;

// The endpoint's path and the topic, joined with one slash.
std::string join_path(std::string_view base, std::string_view topic) {
  std::string out(base);
  if (topic.empty()) {
    return out;
  }
  while (out.ends_with('/')) {
    out.pop_back();
  }
  return out + std::string(topic);
}

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
  http::RequestHead head;
  head.method = "GET";
  head.target = http::format_target(join_path(endpoint.path, exchange.topic), exchange.query);
  head.headers = exchange.request.headers;
  http::remove_hop_by_hop(head.headers);
  head.headers.set("Host", endpoint.authority);
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
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    return failed(Refusal::kBackendTimeout,
                  "The backend did not answer in time (" + std::string(what) + ").");
  }
  return failed(Refusal::kBackendUnreachable,
                "The backend cannot be reached (" + std::string(what) + ").");
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

}  // namespace

Task<BackendResult> ask_backend(SessionContext& context, filter::Exchange& exchange,
                                std::shared_ptr<const upstream::Cluster> cluster, ClientAsk ask) {
  auto dialled = co_await context.pool->dial(cluster);
  if (!dialled.ok()) {
    co_return from_status(dialled.status(), "connecting");
  }
  const model::Endpoint& endpoint = *dialled->endpoint;
  exchange.endpoint = endpoint.url;
  const Mono deadline = context.loop->clock().now() + cluster->handshake_timeout;
  net::AsyncSide side(*context.loop, std::move(dialled->side));
  const websocket::Extensions offered =
      offer_for_backend(std::move(ask.extensions), exchange.may_drop);
  const std::string request =
      http::serialize(request_for_backend(exchange, endpoint, ask, offered));
  absl::Status status = co_await side.write_all(request, deadline);
  if (!status.ok()) {
    co_return from_status(status, "handshake");
  }
  auto head = co_await read_answer(side, deadline);
  if (!head.ok()) {
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
    co_return result;
  }
  auto answer = websocket::check_upgrade_response(result.head, ask.key, ask.subprotocols, offered);
  if (!answer.ok()) {
    co_return failed(Refusal::kBackendUnreachable,
                     "The backend's 101 is not a WebSocket handshake: " +
                         std::string(message_of(answer.status())) + ".");
  }
  result.answer = *std::move(answer);
  if (exchange.may_drop) {
    websocket::reset_client_context_in_answer(result.answer.extensions);
  }
  result.side = side.release(result.rest);
  co_return result;
}

}  // namespace sluice::session
