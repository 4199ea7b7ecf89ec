#include "proxy/session/handshake.h"

#include <optional>
#include <utility>

#include "proxy/base/limits.h"
#include "proxy/filter/refusal.h"
#include "proxy/session/backend_handshake.h"
#include "proxy/websocket/close.h"
#include "proxy/websocket/handshake.h"

namespace sluice::session {
namespace {

using filter::Refusal;

// One client connection on the way to a live WebSocket. Lives in its coroutine's frame.
class Handshake {
 public:
  Handshake(Client& client, std::unique_ptr<Connection> connection)
      : context_(client.context()),
        client_(client),
        connection_(std::move(connection)),
        head_done_(context_.loop->clock().now()) {}

  // `refused`: by what came before.
  Task<void> run(std::optional<Refused> refused);

 private:
  filter::Exchange& exchange() { return connection_->exchange(); }

  // Each step gives a refusal, or none to go on.
  std::optional<Refused> check_upgrade();
  Task<std::optional<Refused>> open();

  Task<void> refuse(Refused refused);
  Task<void> refuse_by_close(filter::CloseInstead close);
  Task<void> pass_refusal_on(BackendResult result);
  Task<void> accept(BackendResult result);
  Task<absl::Status> write(std::string bytes, nanoseconds time);
  std::string pick_subprotocol(std::string_view backends) const;

  SessionContext& context_;
  Client& client_;
  std::unique_ptr<Connection> connection_;
  std::shared_ptr<const upstream::Cluster> cluster_;
  websocket::UpgradeRequest upgrade_;
  Mono head_done_;
};

Task<void> Handshake::run(std::optional<Refused> refused) {
  if (!refused) {
    refused = check_upgrade();
  }
  if (!refused) {
    refused = co_await open();
  }
  if (!refused) {
    refused = client_.choose_cluster(*connection_, cluster_);
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

std::optional<Refused> Handshake::check_upgrade() {
  upgrade_ = websocket::check_upgrade_request(exchange().request);
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
  if (!client_.io().unread().empty()) {
    return Refused{Refusal::kMalformed, "Bytes follow the handshake before it was answered."};
  }
  return std::nullopt;
}

Task<std::optional<Refused>> Handshake::open() {
  std::optional<Refused> refused = co_await client_.open(*connection_);
  if (refused) {
    co_return refused;
  }
  // Filters took credentials out of the offered sub-protocols.
  if (const auto left = websocket::parse_subprotocols(exchange().request.headers)) {
    upgrade_.subprotocols = *left;
  }
  if (!connection_->hold_token()) {
    Refused lost;
    lost.refusal = Refusal::kTokenUnchecked;
    lost.text = "What is known of the token changed meanwhile. Try again.";
    lost.retry_after_s = 1;
    co_return lost;
  }
  co_return std::nullopt;
}

Task<absl::Status> Handshake::write(std::string bytes, nanoseconds time) {
  co_return co_await client_.io().write_all(bytes, context_.loop->clock().now() + time);
}

Task<void> Handshake::refuse(Refused refused) {
  filter::Exchange& ex = exchange();
  client_.note_refusal(*connection_, refused);
  if (ex.api != nullptr && ex.api->refuse_by == model::RefuseBy::kClose &&
      upgrade_.outcome == websocket::UpgradeOutcome::kUpgrade) {
    std::optional<filter::CloseInstead> close =
        filter::close_instead(refused.refusal, ex.api->close_codes);
    if (close) {
      co_await refuse_by_close(*std::move(close));
      co_return;
    }
  }
  std::string response =
      filter::refusal_response(refused.refusal, refused.text, ex.id, refused.retry_after_s);
  if ((co_await write(std::move(response), limits::kCloseTimeout)).ok()) {
    co_await client_.linger(limits::kCloseTimeout, limits::kReadBytesPerTurnMax);
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
  if ((co_await write(std::move(answer), limits::kCloseTimeout)).ok()) {
    co_await client_.linger(limits::kCloseTimeout, limits::kReadBytesPerTurnMax);
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
  std::string response =
      http::simple_response(result.head.status, std::move(result.head.headers), result.body);
  if ((co_await write(std::move(response), limits::kCloseTimeout)).ok()) {
    co_await client_.linger(limits::kCloseTimeout, limits::kReadBytesPerTurnMax);
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
  const absl::Status status = co_await write(http::serialize(head), limits::kHandshakeTimeout);
  if (!status.ok()) {
    ex.ending.close_side = telemetry::CloseSide::kClient;
    ex.ending.reason = "client gone during the handshake";
    co_return;
  }
  Relay::Parts parts;
  std::string from_client;  // nothing: bytes before the 101 were refused
  parts.client = client_.io().release(from_client);
  parts.backend = std::move(result.side);
  parts.deflate = deflate.on;
  connection_->hold_backend(*std::move(result.use));
  ++context_.counters->opened;
  Connection& connection = *connection_;
  context_.go_live(std::move(connection_));
  connection.begin_relay(std::move(parts), std::move(from_client), std::move(result.rest));
}

}  // namespace

Task<void> shake_hands(Client& client, std::unique_ptr<Connection> connection,
                       std::optional<Refused> refused) {
  Handshake handshake(client, std::move(connection));
  co_await handshake.run(std::move(refused));
}

}  // namespace sluice::session
