#include "proxy/session/http_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/config/api_resource.h"
#include "proxy/http/body_coder.h"
#include "proxy/session/backend_request.h"
#include "proxy/session/balance_value.h"
#include "proxy/session/cors.h"
#include "proxy/session/transfer.h"

namespace sluice::session {
namespace {

using filter::CloseCause;
using filter::Refusal;
using End = Transfer::End;

// RFC 9110 section 9.2.2: asking twice is the same as asking once.
bool is_idempotent(std::string_view method) {
  constexpr std::array<std::string_view, 5> kMethods = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"};
  return std::find(kMethods.begin(), kMethods.end(), method) != kMethods.end();
}

// What a client gets instead of the response that a change of its rights cut off.
Refusal refusal_for(CloseCause cause) {
  switch (cause) {
    case CloseCause::kTokenExpired:
      return Refusal::kExpired;
    case CloseCause::kTokenRevoked:
      return Refusal::kRevoked;
    case CloseCause::kSubscriptionBlocked:
    case CloseCause::kApplicationBlocked:
      return Refusal::kSubscriptionBlocked;
    case CloseCause::kSubscriptionInactive:
    case CloseCause::kApplicationInactive:
      return Refusal::kSubscriptionInactive;
    case CloseCause::kSubscriptionDeleted:
    case CloseCause::kApplicationDeleted:
      return Refusal::kNotSubscribed;
    case CloseCause::kApiRetired:
    case CloseCause::kApiDeleted:
    case CloseCause::kApiCreated:
      return Refusal::kNoApi;
    case CloseCause::kApiBlocked:
      return Refusal::kApiBlocked;
    default:
      return Refusal::kOverloaded;
  }
}

// One request. Lives in its coroutine's frame.
class HttpRequest {
 public:
  HttpRequest(Client& client, std::unique_ptr<Connection> connection)
      : context_(client.context()),
        client_(client),
        connection_(std::move(connection)),
        head_done_(context_.loop->clock().now()),
        old_client_(request().version_minor == 0),
        keep_alive_(old_client_ ? request().headers.has_token("Connection", "keep-alive")
                                : !request().headers.has_token("Connection", "close")) {}

  Task<bool> run();

 private:
  filter::Exchange& exchange() { return connection_->exchange(); }
  http::RequestHead& request() { return exchange().request; }
  const model::Api& api() { return *exchange().api; }

  std::optional<Refused> check();
  Task<std::optional<Refused>> pass_on();
  Task<std::optional<Refused>> try_once(bool reuse);
  Transfer::Hooks hooks(Transfer*& transfer);
  std::string head_for(const model::Endpoint& endpoint);
  void reply(http::ResponseHead& head, const Transfer& transfer);
  void judge(const Transfer& transfer, upstream::Dialled& dialled);
  std::optional<Refused> outcome(const Transfer& transfer);
  std::optional<Refused> cut_off(const Transfer& transfer);
  bool skip_body();
  Task<bool> refuse(Refused refused);
  Task<bool> answer_preflight();
  Task<bool> finish(std::string answer, bool keep_alive);
  Task<bool> leave();

  SessionContext& context_;
  Client& client_;
  std::unique_ptr<Connection> connection_;
  std::shared_ptr<const upstream::Cluster> cluster_;
  std::optional<upstream::Call> call_;  // until a response came
  std::string allowed_methods_;  // where the method is refused
  Mono head_done_;
  const bool old_client_;
  const bool keep_alive_;
  bool transferred_ = false;  // some of the request's body may have been taken
  bool body_taken_ = false;   // all of it
  bool reusable_ = false;     // the client's connection, after a transfer
  bool gone_ = false;         // the client, or its connection is to be dropped at once
  enum class Again : std::uint8_t { kNo, kStale, kRetry, kGranted } again_ = Again::kNo;
};

Task<bool> HttpRequest::run() {
  if (api().cors && is_preflight(request()) && origin_allowed(api(), request().headers)) {
    co_return co_await answer_preflight();
  }
  std::optional<Refused> refused = check();
  if (!refused) {
    refused = co_await client_.open(*connection_);
  }
  if (!refused) {
    refused = client_.choose_cluster(*connection_, cluster_);
  }
  if (!refused) {
    refused = co_await pass_on();
  }
  if (refused) {
    co_return co_await refuse(*std::move(refused));
  }
  connection_.reset();
  if (!reusable_) {
    co_return co_await leave();
  }
  client_.expect_more();
  co_return true;
}

std::optional<Refused> HttpRequest::check() {
  config::ResourceMatch match =
      config::find_resource(api(), request().method, exchange().topic);
  exchange().resource = match.resource;
  if (match.kind == config::ResourceMatch::Kind::kNoPath) {
    return Refused{Refusal::kNoTopic, "The API has no resource at this path."};
  }
  const bool for_proxies = request().method == "TRACE" || request().method == "CONNECT";
  if (match.kind == config::ResourceMatch::Kind::kNoMethod || for_proxies) {
    allowed_methods_ = std::move(match.allowed);
    return Refused{Refusal::kMethodNotAllowed, "The resource does not have this method."};
  }
  if (const auto expect = request().headers.find("Expect")) {
    if (!http::equal_ignoring_case(*expect, "100-continue")) {
      return Refused{Refusal::kExpectation, "Only 100-continue can be expected."};
    }
    if (old_client_) {
      request().headers.remove("Expect");
    }
  }
  const std::uint64_t bytes_max = api().http.request_body_bytes_max;
  if (bytes_max != 0 && http::request_body(request()).length > bytes_max) {
    return Refused{Refusal::kBodyTooLarge, fmt::format("At most {} bytes are taken.", bytes_max)};
  }
  return std::nullopt;
}

Task<std::optional<Refused>> HttpRequest::pass_on() {
  ++context_.counters->requests;
  const std::uint64_t hash = balance_value(*cluster_, exchange());
  call_.emplace(*context_.pool, std::move(cluster_), upstream::Use::kRequest, hash);
  std::optional<Refused> refused = co_await try_once(true);
  while (refused && again_ != Again::kNo) {
    // A dead connection is no fault of its endpoint; anything else is a retry, within its budget.
    if (again_ == Again::kStale) {
      call_->was_stale();
    } else if (again_ == Again::kRetry && !call_->may_retry(0)) {
      break;
    }
    ++context_.counters->requests_retried;
    refused = co_await try_once(false);
  }
  call_.reset();
  co_return refused;
}

Task<std::optional<Refused>> HttpRequest::try_once(bool reuse) {
  again_ = Again::kNo;
  upstream::Call::TakeIdle take_idle;
  if (reuse) {
    take_idle = [this](const upstream::Lease& lease) { return context_.idle->take(lease); };
  }
  auto dialled = co_await call_->dial(std::move(take_idle));
  if (!dialled.ok()) {
    log::debug("{}: {}", exchange().id, message_of(dialled.status()));
    co_return refusal_of_backend(dialled.status(), "connecting");
  }
  upstream::Lease& lease = dialled->lease;
  exchange().endpoint = lease.endpoint().url;
  Transfer::Parts parts;
  parts.client = &client_.io();
  parts.backend = std::move(dialled->connection.side);
  parts.exchange = &exchange();
  parts.filters = connection_->filters();
  parts.response_timeout = lease.cluster().request_timeout;
  parts.keep_alive = keep_alive_;
  parts.old_client = old_client_;
  Transfer* self = nullptr;
  Transfer transfer(*context_.loop, std::move(parts), hooks(self));
  self = &transfer;
  connection_->set_transfer(&transfer);
  transfer.start(head_for(lease.endpoint()));
  const absl::Status status = co_await transfer.wait();
  connection_->set_transfer(nullptr);
  if (!status.ok()) {  // the worker stops
    gone_ = true;
    co_return std::nullopt;
  }
  transferred_ = true;
  body_taken_ = transfer.request_taken();
  if (std::unique_ptr<net::Side> side = transfer.take_reusable_backend()) {
    dialled->connection.side = std::move(side);
    context_.idle->put(lease, std::move(dialled->connection));
  }
  judge(transfer, *dialled);
  co_return outcome(transfer);
}

// What the endpoint did is told to its ejection, and whether it may be asked again decided.
void HttpRequest::judge(const Transfer& transfer, upstream::Dialled& dialled) {
  const bool asked_in_vain = transfer.ending() == End::kBackendGone && transfer.replayable() &&
                             is_idempotent(request().method);
  if (asked_in_vain) {
    again_ = dialled.reused ? Again::kStale : Again::kRetry;
  }
  switch (transfer.ending()) {
    case End::kAgain:
      again_ = Again::kGranted;
      dialled.lease.failed(context_.loop->clock().now());
      break;
    case End::kBackendGone:
      if (dialled.reused) {
        break;
      }
      [[fallthrough]];
    case End::kBackendInvalid:
    case End::kBackendSlow:
      dialled.lease.failed(context_.loop->clock().now());
      break;
    default:
      if (transfer.answered()) {
        const int status = exchange().ending.status;
        status >= 502 && status <= 504 ? dialled.lease.failed(context_.loop->clock().now())
                                       : dialled.lease.succeeded();
      }
      break;
  }
}

// `transfer` is set once it exists.
Transfer::Hooks HttpRequest::hooks(Transfer*& transfer) {
  Transfer::Hooks hooks;
  hooks.reply = [this, &transfer](http::ResponseHead& head) { reply(head, *transfer); };
  hooks.again = [this](int status) {
    return is_idempotent(request().method) && call_->may_retry(status);
  };
  hooks.is_long = [this] { connection_->watch(); };
  hooks.last_request = [this] { return client_.last_request(); };
  return hooks;
}

std::string HttpRequest::head_for(const model::Endpoint& endpoint) {
  http::RequestHead head = request_for(exchange(), endpoint);
  if (http::request_body(request()).kind == http::BodyFraming::kChunked) {
    head.headers.add("Transfer-Encoding", "chunked");
  }
  return http::serialize(head);
}

void HttpRequest::reply(http::ResponseHead& head, const Transfer& transfer) {
  call_.reset();
  filter::Exchange& ex = exchange();
  ex.ending.status = head.status;
  ex.handshake_us = static_cast<std::uint64_t>(
      duration_cast<microseconds>(context_.loop->clock().now() - head_done_).count());
  const int of_class = std::clamp(head.status / 100, 1, 5) - 1;
  ++context_.counters->responses[of_class];
  if (api().cors) {
    set_cors(api(), request().headers, head.headers);
  }
  head.headers.set("X-Request-Id", ex.id);
  connection_->filters()->reply(ex, head);
  if (ex.account != nullptr) {
    telemetry::Account::add(ex.account->messages_up, 1);
    telemetry::Account::add(ex.account->bytes_up, transfer.bytes_up());
    connection_->move_to_slot();
  }
}

// A refusal where the client has no response yet.
std::optional<Refused> HttpRequest::outcome(const Transfer& transfer) {
  if (transfer.ending() == End::kDone) {
    reusable_ = transfer.client_reusable();
    return std::nullopt;
  }
  if (transfer.answered() || transfer.ending() == End::kClientGone) {
    return cut_off(transfer);
  }
  switch (transfer.ending()) {
    case End::kBackendGone:
      return Refused{Refusal::kBackendUnreachable,
                     "The backend closed the connection without a response."};
    case End::kBackendSlow:
      return Refused{Refusal::kBackendTimeout, "The backend did not respond in time."};
    case End::kBodyMalformed:
      return Refused{Refusal::kMalformed, std::string(transfer.fault())};
    case End::kBodyTooLarge:
      return Refused{Refusal::kBodyTooLarge, fmt::format("At most {} bytes are taken.",
                                                         api().http.request_body_bytes_max)};
    case End::kBodySlow:
      return Refused{Refusal::kBodyTooSlow, "The request's body did not arrive in time."};
    case End::kCut:
      ++context_.counters->requests_cut;
      return Refused{refusal_for(transfer.cut_cause()),
                     std::string(filter::close_reason(transfer.cut_cause()))};
    case End::kAgain:
      return Refused{Refusal::kBackendUnreachable, "The backend is not well."};
    default:
      return Refused{Refusal::kBackendUnreachable, "The backend's response is not valid HTTP."};
  }
}

// The client has a part of the response, or has left: all that can be done is to end.
std::optional<Refused> HttpRequest::cut_off(const Transfer& transfer) {
  gone_ = true;
  filter::Ending& ending = exchange().ending;
  switch (transfer.ending()) {
    case End::kClientGone:
      ending.close_side = telemetry::CloseSide::kClient;
      ending.reason = "client gone before the whole response";
      break;
    case End::kCut:
      ++context_.counters->requests_cut;
      ending.close_side = telemetry::CloseSide::kProxy;
      ending.reason = filter::close_reason(transfer.cut_cause());
      break;
    case End::kBroken:
      ending.close_side = telemetry::CloseSide::kBackend;
      ending.reason = "the response broke off or nothing of it moved";
      break;
    default:
      ending.close_side = telemetry::CloseSide::kClient;
      ending.reason = "the request's body is not valid";
      break;
  }
  return std::nullopt;
}

// Whether the request's body is all here; it is thrown away.
bool HttpRequest::skip_body() {
  http::BodyCoder coder(http::request_body(request()), false);
  std::string scratch;
  client_.io().consume(coder.take(client_.io().unread(), scratch).consumed);
  return coder.done();
}

Task<bool> HttpRequest::refuse(Refused refused) {
  client_.note_refusal(*connection_, refused);
  const bool body_gone = transferred_ ? body_taken_ : skip_body();
  const bool keep_alive = keep_alive_ && body_gone && !client_.last_request();
  filter::RefusalDress dress;
  dress.retry_after_s = refused.retry_after_s;
  dress.keep_alive = keep_alive;
  dress.head_only = request().method == "HEAD";
  if (keep_alive && old_client_) {
    dress.extra.add("Connection", "keep-alive");
  }
  if (refused.refusal == Refusal::kMethodNotAllowed) {
    dress.extra.add("Allow", allowed_methods_);
  }
  if (api().cors) {
    set_cors(api(), request().headers, dress.extra);
  }
  std::string answer = filter::refusal_response(refused.refusal, refused.text, exchange().id,
                                                std::move(dress));
  co_return co_await finish(std::move(answer), keep_alive);
}

Task<bool> HttpRequest::answer_preflight() {
  http::ResponseHead head = preflight_answer(api(), request().headers);
  head.headers.add("X-Request-Id", exchange().id);
  const bool keep_alive = keep_alive_ && skip_body() && !client_.last_request();
  if (!keep_alive) {
    head.headers.add("Connection", "close");
  } else if (old_client_) {
    head.headers.add("Connection", "keep-alive");
  }
  exchange().ending.status = head.status;
  co_return co_await finish(http::serialize(head), keep_alive);
}

Task<bool> HttpRequest::finish(std::string answer, bool keep_alive) {
  const Mono until = context_.loop->clock().now() + limits::kCloseTimeout;
  gone_ = !(co_await client_.io().write_all(answer, until)).ok();
  connection_.reset();
  if (gone_ || !keep_alive) {
    co_return co_await leave();
  }
  client_.expect_more();
  co_return true;
}

Task<bool> HttpRequest::leave() {
  if (!gone_) {
    co_await client_.linger(limits::kHttpLingerTimeout, limits::kHttpLingerBytesMax);
  }
  co_return false;
}

}  // namespace

Task<bool> serve_request(Client& client, std::unique_ptr<Connection> connection) {
  HttpRequest request(client, std::move(connection));
  co_return co_await request.run();
}

}  // namespace sluice::session
