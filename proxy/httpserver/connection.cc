#include "proxy/httpserver/connection.h"

#include <fmt/format.h>

#include <utility>

namespace sluice::httpserver {
namespace {

// Up to this size head and body go out together, in one copy and one send.
constexpr std::size_t kJoinedBytesMax = 64 * 1024;

bool wants_close(const http::RequestHead& head) {
  return head.version_minor == 0 || head.headers.has_token("Connection", "close");
}

bool has_body(int status) { return status >= 200 && status != 204 && status != 304; }

bool valid(const http::Headers& headers) {
  for (const http::Headers::Field field : headers) {
    if (!http::is_token(field.name) || !http::valid_value(field.value)) {
      return false;
    }
  }
  return true;
}

Response too_slow() { return refusal(408, 408001, "the request did not come in time"); }

}  // namespace

Connection::Connection(net::Loop& loop, const ServerOptions& options, const Handler& handler,
                       std::unique_ptr<net::Side> side)
    : loop_(loop), options_(options), handler_(handler), io_(loop, std::move(side)) {}

Task<void> Connection::run() {
  deadline_ = loop_.clock().now() + options_.request_timeout;
  while (true) {
    if (io_.unread().empty()) {
      absl::Status status = co_await io_.read_more(1, deadline_);
      if (!status.ok()) {
        co_return;
      }
    }
    deadline_ = loop_.clock().now() + options_.request_timeout;
    Outcome outcome = co_await read_request();
    if (outcome.refusal.has_value()) {
      absl::Status status = co_await answer(*std::move(outcome.refusal), outcome.head_only, true);
      if (status.ok()) {
        co_await linger();
      }
      co_return;
    }
    if (!outcome.request.has_value()) {
      co_return;
    }
    Task<Response> task = handler_(*std::move(outcome.request));
    Response response = co_await std::move(task);
    absl::Status status = co_await answer(std::move(response), outcome.head_only, outcome.close);
    if (!status.ok()) {
      co_return;
    }
    if (outcome.close) {
      co_await linger();
      co_return;
    }
    deadline_ = loop_.clock().now() + options_.idle_timeout;
  }
}

Task<Connection::Outcome> Connection::read_request() {
  Outcome outcome;
  http::RequestHead head;
  absl::Status status = co_await read_head(head, outcome.refusal);
  if (!status.ok() || outcome.refusal.has_value()) {
    co_return outcome;
  }
  outcome.head_only = head.method == "HEAD";
  outcome.close = wants_close(head);
  absl::StatusOr<http::Target> target = http::parse_target(head.target);
  if (!target.ok()) {
    outcome.refusal = refusal(400, 400002, message_of(target.status()));
    co_return outcome;
  }
  Request request;
  status = co_await read_body(head, request.body, outcome.refusal);
  if (!status.ok() || outcome.refusal.has_value()) {
    co_return outcome;
  }
  request.method = std::move(head.method);
  request.path = std::move(target->path);
  request.query = std::move(target->query);
  request.headers = std::move(head.headers);
  request.peer = io_.side().peer();
  request.tls = !io_.side().plain();
  outcome.request = std::move(request);
  co_return outcome;
}

Task<absl::Status> Connection::read_head(http::RequestHead& head,
                                         std::optional<Response>& refused) {
  http::HeadScanner scanner;
  while (true) {
    http::RequestParse parse =
        http::parse_request_head(io_.unread(), options_.head_bytes_max, scanner);
    if (parse.state == http::ParseState::kDone) {
      io_.consume(parse.consumed);
      head = std::move(parse.head);
      co_return absl::OkStatus();
    }
    if (parse.state == http::ParseState::kError) {
      refused = refusal(parse.error.status, parse.error.code, parse.error.text);
      co_return absl::OkStatus();
    }
    // The parser refuses more than head_bytes_max; the one byte more lets it see that.
    absl::Status status = co_await io_.read_more(options_.head_bytes_max + 1, deadline_);
    if (absl::IsDeadlineExceeded(status)) {
      refused = too_slow();
      co_return absl::OkStatus();
    }
    if (!status.ok()) {
      co_return status;
    }
  }
}

Task<absl::Status> Connection::read_body(const http::RequestHead& head, std::string& body,
                                         std::optional<Response>& refused) {
  const http::BodyFraming framing = http::request_body(head);
  http::BodyReader reader(framing, options_.body_bytes_max);
  bool invited = false;
  while (true) {
    std::size_t consumed = 0;
    const http::ParseState state = reader.read(io_.unread(), consumed);
    io_.consume(consumed);
    if (state == http::ParseState::kDone) {
      body = reader.take_body();
      co_return absl::OkStatus();
    }
    if (state == http::ParseState::kError) {
      refused =
          reader.too_large()
              ? refusal(413, 413001,
                        fmt::format("the body is larger than {} bytes", options_.body_bytes_max))
              : refusal(400, 400002, "the chunked body is malformed");
      co_return absl::OkStatus();
    }
    if (!invited && http::equal_ignoring_case(head.headers.get("Expect"), "100-continue")) {
      absl::Status status = co_await io_.write_all("HTTP/1.1 100 Continue\r\n\r\n", deadline_);
      if (!status.ok()) {
        co_return status;
      }
    }
    invited = true;
    absl::Status status = co_await io_.read_more(limits::kReadBufferBytes, deadline_);
    if (absl::IsDeadlineExceeded(status)) {
      refused = too_slow();
      co_return absl::OkStatus();
    }
    if (!status.ok()) {
      co_return status;
    }
  }
}

Task<absl::Status> Connection::answer(Response response, bool head_only, bool close) {
  if (!valid(response.headers)) {
    response = refusal(500, 500001, "the answer had a malformed header field");
  }
  http::ResponseHead head;
  head.status = response.status;
  head.headers = std::move(response.headers);
  for (const http::Headers::Field field : options_.extra_headers) {
    if (!head.headers.has(field.name)) {
      head.headers.add(field.name, field.value);
    }
  }
  const std::string& body = response.shared_body ? *response.shared_body : response.body;
  if (has_body(head.status)) {
    head.headers.set("Content-Length", std::to_string(body.size()));
  }
  head.headers.set("Date", http::http_date(loop_.clock().wall()));
  if (close) {
    head.headers.set("Connection", "close");
  }
  const Mono deadline = loop_.clock().now() + options_.response_timeout;
  std::string bytes = http::serialize(head);
  const bool with_body = has_body(head.status) && !head_only;
  const bool joined = with_body && body.size() <= kJoinedBytesMax;
  if (joined) {
    bytes += body;
  }
  absl::Status status = co_await io_.write_all(bytes, deadline);
  if (status.ok() && with_body && !joined) {
    status = co_await io_.write_all(body, deadline);
  }
  co_return status;
}

// Closing with unread bytes would reset the connection, and the client might lose the answer.
Task<void> Connection::linger() {
  io_.side().end();
  const Mono deadline = loop_.clock().now() + limits::kServerLingerTimeout;
  absl::Status status;
  while (status.ok()) {
    io_.consume(io_.unread().size());
    status = co_await io_.read_more(limits::kReadBufferBytes, deadline);
  }
}

}  // namespace sluice::httpserver
