#include "proxy/session/client.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "proxy/base/limits.h"
#include "proxy/http/parse.h"
#include "proxy/http/target.h"
#include "proxy/session/forwarded.h"

namespace sluice::session {

using filter::Refusal;

namespace {

std::string make_id(Rng& rng) { return fmt::format("{:016x}", rng.next()); }

}  // namespace

Refused refusal_of_backend(const absl::Status& status, std::string_view what) {
  Refused refused;
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    refused.refusal = Refusal::kOverloaded;
    refused.text = "The API's backend has as much to do as it may; try again.";
    refused.retry_after_s = 1;
    return refused;
  }
  refused.detail = message_of(status);
  if (status.code() == absl::StatusCode::kFailedPrecondition) {
    refused.refusal = Refusal::kNoHealthyEndpoint;
    refused.text = "No endpoint of the API is well at present.";
  } else if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    refused.refusal = Refusal::kBackendTimeout;
    refused.text = fmt::format("The backend did not answer in time ({}).", what);
  } else {
    refused.refusal = Refusal::kBackendUnreachable;
    refused.text = fmt::format("The backend cannot be reached ({}).", what);
  }
  return refused;
}

Client::~Client() {
  if (registered_) {
    context_.clients->remove(*this);
  }
}

Task<std::optional<Refused>> Client::read_head(http::RequestHead& head) {
  const std::size_t bytes_max = listener_->request_head_bytes_max;
  http::HeadScanner scanner;
  while (true) {
    if (!io_.unread().empty()) {
      http::RequestParse parsed = http::parse_request_head(io_.unread(), bytes_max, scanner);
      if (parsed.state == http::ParseState::kError) {
        Refused refused;
        refused.refusal = parsed.error.status == 431 ? Refusal::kHeadTooLarge : Refusal::kMalformed;
        refused.text = std::move(parsed.error.text);
        co_return refused;
      }
      if (parsed.state == http::ParseState::kDone) {
        io_.consume(parsed.consumed);
        head = std::move(parsed.head);
        co_return std::nullopt;
      }
    }
    idle_ = registered_ && io_.unread().empty();
    const absl::Status status = co_await io_.read_more(bytes_max + 1, deadline_);
    if (status.ok()) {
      if (std::exchange(idle_, false)) {
        deadline_ = context_.loop->clock().now() + listener_->request_head_timeout;
      }
      continue;
    }
    const bool slow = status.code() == absl::StatusCode::kDeadlineExceeded;
    if (slow && !idle_) {
      ++context_.counters->heads_too_slow;
    }
    if (!slow || io_.unread().empty()) {
      gone_ = true;
      co_return std::nullopt;
    }
    Refused refused;
    refused.refusal = Refusal::kHeadTooSlow;
    refused.text = "The request's head did not arrive in time.";
    co_return refused;
  }
}

std::optional<Refused> Client::route(Connection& connection) {
  const std::shared_ptr<const config::Snapshot> snapshot = context_.snapshot();
  if (const auto& newest = snapshot->find_listener(listener_->name)) {
    listener_ = newest;
  }
  filter::Exchange& ex = connection.exchange();
  ex.listener = listener_->name;
  ex.tls = tls_;
  ex.id = make_id(context_.loop->rng());
  apply_forwarded(ex, *listener_, io_.side().peer());
  const std::string_view why = registered_ && !context_.draining() ? "" : context_.refuse_reason();
  if (!why.empty()) {
    ++context_.counters->refused_overload;
    return Refused{Refusal::kOverloaded, std::string(why), 1};
  }
  auto target = http::parse_target(ex.request.target);
  if (!target.ok()) {
    return Refused{Refusal::kMalformed, std::string(message_of(target.status()))};
  }
  ex.query = std::move(target->query);
  config::RouteMatch match = snapshot->route(target->path);
  if (match.api == nullptr) {
    return Refused{Refusal::kNoApi, "No API is published at this path; check context and version."};
  }
  ex.topic = match.topic;
  const std::shared_ptr<const filter::FilterChain>& chain = match.api->chain_for(*listener_);
  connection.use(match.api, chain);
  return std::nullopt;
}

Task<std::optional<Refused>> Client::open(Connection& connection) {
  const filter::Verdict verdict = co_await connection.filters()->open(connection.exchange());
  if (verdict.kind() != filter::Verdict::Kind::kRefuse) {
    co_return std::nullopt;
  }
  Refused refused;
  refused.refusal = verdict.detail()->refusal;
  refused.text = verdict.detail()->text;
  refused.retry_after_s = verdict.detail()->retry_after_s;
  co_return refused;
}

std::optional<Refused> Client::choose_cluster(
    Connection& connection, std::shared_ptr<const upstream::Cluster>& cluster) const {
  const auto& principal = connection.exchange().principal;
  const bool sandbox = principal && principal->key_type == model::KeyType::kSandbox;
  cluster = connection.api()->cluster_for(sandbox ? model::KeyType::kSandbox
                                                  : model::KeyType::kProduction);
  if (cluster == nullptr) {
    return Refused{Refusal::kNoEndpoint,
                   sandbox ? "Sandbox key offered to the API with no sandbox endpoint"
                           : "Production key offered to the API with no production endpoint"};
  }
  return std::nullopt;
}

void Client::note_refusal(Connection& connection, const Refused& refused) {
  filter::Exchange& ex = connection.exchange();
  if (ex.id.empty()) {
    ex.id = make_id(context_.loop->rng());
    ex.listener = listener_->name;
    ex.client_address = io_.side().peer().ip;
  }
  ex.ending.status = filter::info(refused.refusal).status;
  ex.ending.refusal_code = filter::info(refused.refusal).code;
  ex.ending.reason =
      refused.detail.empty() ? refused.text : fmt::format("{} {}", refused.text, refused.detail);
  ex.ending.close_side = telemetry::CloseSide::kProxy;
  ++context_.counters->refused;
}

Task<void> Client::linger(nanoseconds time, std::size_t bytes_max) {
  io_.side().end();
  const Mono until = context_.loop->clock().now() + time;
  std::size_t left = bytes_max;
  while (left > 0) {
    const std::size_t size = io_.unread().size();
    io_.consume(size);
    left -= std::min(left, size);
    if (!(co_await io_.read_more(limits::kReadBufferBytes, until)).ok()) {
      break;
    }
  }
}

void Client::expect_more() {
  deadline_ = context_.loop->clock().now() + (io_.unread().empty()
                                                  ? limits::kClientIdleTimeout
                                                  : listener_->request_head_timeout);
}

void Client::begin_request() {
  if (!registered_) {
    registered_ = true;
    context_.clients->add(*this);
  }
}

bool Client::last_request() const {
  return context_.draining() || context_.snapshot()->find_listener(listener_->name) == nullptr;
}

void Client::close_if_idle() {
  if (idle_) {
    io_.on_error(io_.side(), absl::CancelledError("the proxy drains"));
  }
}

}  // namespace sluice::session
