#include "proxy/session/handshake.h"

#include <fmt/core.h>

#include <optional>
#include <utility>

#include "proxy/base/limits.h"
#include "proxy/filter/refusal.h"
#include "proxy/http/parse.h"
#include "proxy/http/target.h"
#include "proxy/net/async_side.h"
#include "proxy/net/connect.h"
#include "proxy/session/backend_handshake.h"
#include "proxy/session/connection.h"
#include "proxy/session/forwarded.h"
#include "proxy/websocket/close.h"
#include "proxy/websocket/handshake.h"

namespace sluice::session {
namespace {

using filter::Refusal;

struct Refused {
  Refusal refusal;
  std::string text;
  int retry_after_s = 0;
  std::string detail = {};  // for the log and the records alone
};

std::string make_id(Rng& rng) { return fmt::format("{:016x}", rng.next()); }

// One client connection until it is refused or live. Lives in serve()'s frame.
class Handshake {
 public:
  Handshake(SessionContext& context, std::unique_ptr<net::Side> side,
            std::shared_ptr<const config::CompiledListener> listener, Mono deadline)
      : context_(context),
        listener_(std::move(listener)),
        deadline_(deadline),
        client_(*context.loop, std::move(side)),
        connection_(std::make_unique<Connection>(context)) {}

  Task<void> run();

 private:
  filter::Exchange& exchange() { return connection_->exchange(); }

  // Each step gives a refusal, or none to go on.
  Task<std::optional<Refused>> read_head();
  std::optional<Refused> route();
  Task<std::optional<Refused>> open();
  std::optional<Refused> choose_cluster();

  Task<void> refuse(Refused refused);
  Task<void> refuse_by_close(filter::CloseInstead close);
  Task<void> pass_refusal_on(BackendResult result);
  Task<void> accept(BackendResult result);
  Task<void> linger();
  std::string pick_subprotocol(std::string_view backends) const;

  SessionContext& context_;
  std::shared_ptr<const config::CompiledListener> listener_;
  Mono deadline_;
  net::AsyncSide client_;
  std::unique_ptr<Connection> connection_;
  std::shared_ptr<const config::Snapshot> snapshot_;
  std::shared_ptr<const upstream::Cluster> cluster_;
  websocket::UpgradeRequest upgrade_;
  Mono head_done_{};
  std::uint64_t changes_ = 0;
  bool gone_ = false;
};

Task<void> Handshake::run() {
  std::optional<Refused> refused = co_await read_head();
  if (gone_) {
    co_return;
  }
  head_done_ = context_.loop->clock().now();
  if (!refused) {
    refused = route();
  }
  if (!refused) {
    refused = co_await open();
  }
  if (!refused) {
    refused = choose_cluster();
  }
  if (refused) {
    co_await refuse(*std::move(refused));
    co_return;
  }
  ClientAsk ask;
  ask.key = upgrade_.key;
  ask.subprotocols = upgrade_.subprotocols;
  ask.extensions = upgrade_.extensions;
  BackendResult result =
      co_await ask_backend(context_, exchange(), std::move(cluster_), std::move(ask));
  if (result.failure) {
    Refused failure;
    failure.refusal = *result.failure;
    failure.text = std::move(result.failure_text);
    failure.detail = std::move(result.failure_detail);
    failure.retry_after_s = result.retry_after_s;
    co_await refuse(std::move(failure));
  } else if (result.side == nullptr) {
    co_await pass_refusal_on(std::move(result));
  } else {
    co_await accept(std::move(result));
  }
}

Task<std::optional<Refused>> Handshake::read_head() {
  http::HeadScanner scanner;
  while (true) {
    http::RequestParse parsed =
        http::parse_request_head(client_.unread(), listener_->request_head_bytes_max, scanner);
    if (parsed.state == http::ParseState::kError) {
      Refused refused;
      refused.refusal = parsed.error.status == 431 ? Refusal::kHeadTooLarge : Refusal::kMalformed;
      refused.text = std::move(parsed.error.text);
      co_return refused;
    }
    if (parsed.state == http::ParseState::kDone) {
      client_.consume(parsed.consumed);
      exchange().request = std::move(parsed.head);
      co_return std::nullopt;
    }
    const absl::Status status =
        co_await client_.read_more(listener_->request_head_bytes_max + 1, deadline_);
    if (status.ok()) {
      continue;
    }
    const bool slow = status.code() == absl::StatusCode::kDeadlineExceeded;
    if (slow) {
      ++context_.counters->heads_too_slow;
    }
    if (!slow || client_.unread().empty()) {
      gone_ = true;  // nobody who waits for an answer
      co_return std::nullopt;
    }
    Refused refused;
    refused.refusal = Refusal::kHeadTooSlow;
    refused.text = "The request's head did not arrive in time.";
    co_return refused;
  }
}

std::optional<Refused> Handshake::route() {
  snapshot_ = context_.snapshot();
  changes_ = context_.changes();
  filter::Exchange& ex = exchange();
  ex.listener = listener_->name;
  ex.tls = listener_->tls != nullptr;
  ex.id = make_id(context_.loop->rng());
  apply_forwarded(ex, *listener_, client_.side().peer());
  if (const std::string_view why = context_.refuse_reason(); !why.empty()) {
    ++context_.counters->refused_overload;
    return Refused{Refusal::kOverloaded, std::string(why), 1};
  }
  const auto target = http::parse_target(ex.request.target);
  if (!target.ok()) {
    return Refused{Refusal::kMalformed, std::string(message_of(target.status()))};
  }
  ex.query = target->query;
  const config::RouteMatch match = snapshot_->route(target->path);
  if (match.api == nullptr) {
    return Refused{Refusal::kNoApi, "No API is published at this path; check context and version."};
  }
  ex.topic = match.topic;
  connection_->use(match.api, match.api->chain_for(*listener_));
  upgrade_ = websocket::check_upgrade_request(ex.request);
  switch (upgrade_.outcome) {
    case websocket::UpgradeOutcome::kUpgrade:
      break;
    case websocket::UpgradeOutcome::kNotUpgrade:
      return Refused{Refusal::kUpgradeRequired, "This is a WebSocket API: ask for an upgrade."};
    case websocket::UpgradeOutcome::kOtherVersion:
    case websocket::UpgradeOutcome::kMalformed:
      return Refused{upgrade_.outcome == websocket::UpgradeOutcome::kMalformed
                         ? Refusal::kMalformed
                         : Refusal::kUpgradeRequired,
                     upgrade_.fault};
  }
  if (!client_.unread().empty()) {
    return Refused{Refusal::kMalformed, "Bytes follow the handshake before it was answered."};
  }
  return std::nullopt;
}

Task<std::optional<Refused>> Handshake::open() {
  const filter::Verdict verdict = co_await connection_->filters()->open(exchange());
  if (verdict.kind() != filter::Verdict::Kind::kRefuse) {
    // Filters took credentials out of the offered sub-protocols.
    if (const auto left = websocket::parse_subprotocols(exchange().request.headers)) {
      upgrade_.subprotocols = *left;
    }
    if (!connection_->hold_token()) {
      Refused refused;
      refused.refusal = Refusal::kTokenUnchecked;
      refused.text = "What is known of the token changed meanwhile. Try again.";
      refused.retry_after_s = 1;
      co_return refused;
    }
    co_return std::nullopt;
  }
  Refused refused;
  refused.refusal = verdict.detail()->refusal;
  refused.text = verdict.detail()->text;
  refused.retry_after_s = verdict.detail()->retry_after_s;
  co_return refused;
}

std::optional<Refused> Handshake::choose_cluster() {
  const auto& principal = exchange().principal;
  const bool sandbox = principal && principal->key_type == model::KeyType::kSandbox;
  cluster_ = connection_->api()->cluster_for(sandbox ? model::KeyType::kSandbox
                                                     : model::KeyType::kProduction);
  if (cluster_ == nullptr) {
    return Refused{Refusal::kNoEndpoint,
                   sandbox ? "Sandbox key offered to the API with no sandbox endpoint"
                           : "Production key offered to the API with no production endpoint"};
  }
  return std::nullopt;
}

Task<void> Handshake::refuse(Refused refused) {
  filter::Exchange& ex = exchange();
  if (ex.id.empty()) {
    ex.id = make_id(context_.loop->rng());
    ex.listener = listener_->name;
    ex.client_address = client_.side().peer().ip;
  }
  const filter::RefusalInfo& info = filter::info(refused.refusal);
  ex.ending.refusal_code = info.code;
  ex.ending.reason =
      refused.detail.empty() ? refused.text : fmt::format("{} {}", refused.text, refused.detail);
  ex.ending.close_side = telemetry::CloseSide::kProxy;
  ++context_.counters->refused;
  if (ex.api != nullptr && ex.api->refuse_by == model::RefuseBy::kClose &&
      upgrade_.outcome == websocket::UpgradeOutcome::kUpgrade) {
    std::optional<filter::CloseInstead> close =
        filter::close_instead(refused.refusal, ex.api->close_codes);
    if (close) {
      co_await refuse_by_close(*std::move(close));
      co_return;
    }
  }
  ex.ending.status = info.status;
  const std::string response =
      filter::refusal_response(refused.refusal, refused.text, ex.id, refused.retry_after_s);
  const Mono until = context_.loop->clock().now() + limits::kCloseTimeout;
  if ((co_await client_.write_all(response, until)).ok()) {
    co_await linger();
  }
}

// Upgrades towards the client alone and closes with a code that a browser shows to its scripts.
Task<void> Handshake::refuse_by_close(filter::CloseInstead close) {
  filter::Exchange& ex = exchange();
  ex.ending.status = 101;
  ex.ending.close_code = close.code;
  std::string answer =
      http::serialize(websocket::make_upgrade_response(upgrade_.key, pick_subprotocol("")));
  answer += websocket::make_close(close.code, close.reason);
  const Mono until = context_.loop->clock().now() + limits::kCloseTimeout;
  if ((co_await client_.write_all(answer, until)).ok()) {
    co_await linger();
  }
}

// Ends our direction and reads until the client has ended its own, so that what it still sends does
// not turn our last bytes into a reset.
Task<void> Handshake::linger() {
  client_.side().end();
  const Mono until = context_.loop->clock().now() + limits::kCloseTimeout;
  std::size_t left = limits::kReadBytesPerTurnMax;
  while (left > 0 && (co_await client_.read_more(limits::kReadBufferBytes, until)).ok()) {
    const std::size_t size = client_.unread().size();
    client_.consume(size);
    left -= std::min(left, size);
  }
}

Task<void> Handshake::pass_refusal_on(BackendResult result) {
  filter::Exchange& ex = exchange();
  ex.ending.status = result.head.status;
  ex.ending.close_side = telemetry::CloseSide::kBackend;
  ex.ending.reason = "refused by the backend";
  ++context_.counters->backend_refused;
  http::remove_hop_by_hop(result.head.headers);
  result.head.headers.remove("Content-Length");
  result.head.headers.set("Connection", "close");
  result.head.headers.set("X-Request-Id", ex.id);
  connection_->filters()->reply(ex, result.head);
  const std::string response =
      http::simple_response(result.head.status, std::move(result.head.headers), result.body);
  const Mono until = context_.loop->clock().now() + limits::kCloseTimeout;
  if ((co_await client_.write_all(response, until)).ok()) {
    co_await linger();
  }
}

// Some clients fail a connection whose offered sub-protocols were all passed over, so a
// credential's marker is named when nothing else was.
std::string Handshake::pick_subprotocol(std::string_view backends) const {
  if (!backends.empty()) {
    return std::string(backends);
  }
  return connection_->exchange().answer_subprotocol;
}

Task<void> Handshake::accept(BackendResult result) {
  filter::Exchange& ex = exchange();
  const websocket::DeflateState deflate = websocket::deflate_state(result.answer.extensions);
  ex.contexts_kept = deflate.client_keeps_context || deflate.server_keeps_context;
  http::ResponseHead head = websocket::make_upgrade_response(
      upgrade_.key, pick_subprotocol(result.answer.subprotocol), result.answer.extensions);
  http::remove_hop_by_hop(result.head.headers);
  for (const http::Headers::Field field : result.head.headers) {
    const bool ours = http::equal_ignoring_case(field.name.substr(0, 14), "Sec-WebSocket-") ||
                      http::equal_ignoring_case(field.name, "Content-Length");
    if (!ours) {
      head.headers.add(field.name, field.value);
    }
  }
  head.headers.set("X-Request-Id", ex.id);
  ex.ending.status = 101;
  ex.handshake_us =
      static_cast<std::uint64_t>(duration_cast<microseconds>(system_mono() - head_done_).count());
  connection_->filters()->reply(ex, head);
  const std::string response = http::serialize(head);
  const Mono until = context_.loop->clock().now() + limits::kHandshakeTimeout;
  const absl::Status status = co_await client_.write_all(response, until);
  if (!status.ok()) {
    ex.ending.close_side = telemetry::CloseSide::kClient;
    ex.ending.reason = "client gone during the handshake";
    co_return;
  }
  Relay::Parts parts;
  std::string from_client;  // nothing: bytes before the 101 were refused
  parts.client = client_.release(from_client);
  parts.backend = std::move(result.side);
  parts.deflate = deflate.on;
  connection_->hold_backend(*std::move(result.use));
  ++context_.counters->opened;
  Connection& connection = *connection_;
  context_.go_live(std::move(connection_));
  connection.begin_relay(std::move(parts), changes_, std::move(from_client),
                         std::move(result.rest));
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
  Handshake handshake(context, std::move(side), std::move(listener), deadline);
  co_await handshake.run();
}

}  // namespace sluice::session
