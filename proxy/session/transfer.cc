#include "proxy/session/transfer.h"

#include <algorithm>
#include <utility>

#include "proxy/telemetry/account.h"

namespace sluice::session {

using filter::Direction;
using http::BodyFraming;
using telemetry::Account;

namespace {

BodyFraming framing_up(const filter::Exchange& exchange) {
  return http::request_body(exchange.request);
}

}  // namespace

Transfer::Transfer(net::Loop& loop, Parts parts, Hooks hooks)
    : loop_(loop),
      parts_(std::move(parts)),
      hooks_(std::move(hooks)),
      up_(framing_up(*parts_.exchange),
          framing_up(*parts_.exchange).kind == BodyFraming::kChunked),
      progress_(loop.clock().now()),
      begin_(loop.clock().now()),
      timer_([](void* self) { static_cast<Transfer*>(self)->tick(); }, this) {}

Transfer::~Transfer() {
  if (end_ == End::kNone) {  // cancelled
    client().set_user(parts_.client);
  }
}

void Transfer::start(std::string head) {
  parts_.backend->set_user(this);
  client().set_user(this);
  if (const std::string_view unread = parts_.client->unread(); !up_.done() && !unread.empty()) {
    std::string_view body;
    const std::size_t taken = take_request_body(unread, body);
    head.append(body);
    parts_.client->consume(taken);
  }
  if (end_ != End::kNone) {
    return;
  }
  write_up(head);
  parts_.backend->resume();
  if (to_backend_.empty() && (!up_.done() || parts_.client->unread().empty())) {
    client().resume();  // for the body, and to see it leave
  }
  arm();
}

void Transfer::cut(filter::CloseCause cause) {
  if (end_ == End::kNone) {
    cut_cause_ = cause;
    finish(End::kCut);
  }
}

std::unique_ptr<net::Side> Transfer::take_reusable_backend() {
  return end_ == End::kDone && backend_keeps_ ? std::move(parts_.backend) : nullptr;
}

void Transfer::on_bytes(net::Side& side, MutableBytes bytes) {
  progress_ = loop_.clock().now();
  if (is_client(side)) {
    from_client(as_text(bytes));
  } else {
    from_backend(as_text(bytes));
  }
}

// ---- up

std::size_t Transfer::take_request_body(std::string_view bytes, std::string_view& to_write) {
  const http::BodyCoder::Piece piece = up_.take(bytes, scratch_);
  to_write = piece.bytes;
  up_taken_ = up_taken_ || piece.consumed > 0;
  if (!up_.fault().empty()) {
    fault_ = up_.fault();
    finish(End::kBodyMalformed);
    return piece.consumed;
  }
  up_bytes_ += piece.payload;
  const std::uint64_t bytes_max = parts_.exchange->api->http.request_body_bytes_max;
  if (bytes_max != 0 && up_bytes_ > bytes_max) {
    finish(End::kBodyTooLarge);
  } else if (piece.payload > 0) {
    tell_filters(Direction::kUp, piece.payload, up_.done());
  }
  return piece.consumed;
}

void Transfer::from_client(std::string_view bytes) {
  std::size_t taken = 0;
  if (!up_.done()) {
    std::string_view body;
    taken = take_request_body(bytes, body);
    if (end_ != End::kNone) {
      return;
    }
    write_up(body);
  }
  if (taken < bytes.size() && end_ == End::kNone) {
    // The next request; it waits, unread further, until this one is answered.
    auto* rest = reinterpret_cast<std::uint8_t*>(const_cast<char*>(bytes.data() + taken));
    parts_.client->on_bytes(client(), {rest, bytes.size() - taken});
    client().pause();
  }
  maybe_done();
}

void Transfer::write_up(std::string_view bytes) {
  if (bytes.empty()) {
    return;
  }
  const std::size_t taken = to_backend_.empty() ? parts_.backend->write(as_bytes(bytes)) : 0;
  if (taken < bytes.size()) {
    to_backend_.append(bytes.substr(taken));
    client().pause();
  }
}

// ---- down

void Transfer::from_backend(std::string_view bytes) {
  backend_heard_ = true;
  if (answered_) {
    pass_response_body(bytes, "");
    return;
  }
  if (head_.empty()) {
    std::string_view left = bytes;
    while (end_ == End::kNone && !answered_ && read_response_head(left)) {
    }
    if (end_ == End::kNone && !answered_) {
      head_.assign(left);
    }
    return;
  }
  std::string joined = std::move(head_);
  head_.clear();
  joined.append(bytes);
  std::string_view left = joined;
  while (end_ == End::kNone && !answered_ && read_response_head(left)) {
  }
  if (end_ == End::kNone && !answered_) {
    joined.erase(0, joined.size() - left.size());
    head_ = std::move(joined);
  }
}

// Takes one head from the front of `bytes`; false: there is no whole one.
bool Transfer::read_response_head(std::string_view& bytes) {
  http::ResponseParse parsed =
      http::parse_response_head(bytes, limits::kResponseHeadBytesMax, scanner_);
  if (parsed.state == http::ParseState::kNeedMore) {
    return false;
  }
  if (parsed.state == http::ParseState::kError || parsed.head.status == 101) {
    finish(End::kBackendInvalid);
    return false;
  }
  bytes.remove_prefix(parsed.consumed);
  scanner_ = {};
  if (parsed.head.status < 200) {
    pass_interim(std::move(parsed.head));
  } else if (!up_taken_ && hooks_.again(parsed.head.status)) {
    finish(End::kAgain);
  } else {
    answer(std::move(parsed.head), bytes);
  }
  return true;
}

void Transfer::pass_interim(http::ResponseHead head) {
  if (++interims_ > limits::kInterimResponsesMax) {
    finish(End::kBackendInvalid);
    return;
  }
  if (!parts_.old_client) {
    http::remove_hop_by_hop(head.headers);
    head.headers.remove("Content-Length");
    write_down(http::serialize(head));
  }
}

void Transfer::answer(http::ResponseHead head, std::string_view rest) {
  const BodyFraming framing = http::response_body(head, parts_.exchange->request.method);
  const bool to_end = framing.kind == BodyFraming::kUntilClose;
  const bool unsized = to_end || framing.kind == BodyFraming::kChunked;
  backend_keeps_ = head.version_minor > 0 && !to_end &&
                   !head.headers.has_token("Connection", "close");
  const bool chunked = unsized && !parts_.old_client;
  down_ = http::BodyCoder(framing, chunked);
  http::remove_hop_by_hop(head.headers);
  if (head.status == 204) {
    head.headers.remove("Content-Length");
  }
  hooks_.reply(head);
  if (chunked) {
    head.headers.add("Transfer-Encoding", "chunked");
  }
  client_keeps_ = parts_.keep_alive && up_.done() && (!unsized || chunked) &&
                  !hooks_.last_request();
  if (!client_keeps_) {
    head.headers.add("Connection", "close");
  } else if (parts_.old_client) {
    head.headers.add("Connection", "keep-alive");
  }
  answered_ = true;
  pass_response_body(rest, http::serialize(head));
}

// `head`: of the response, to go in front; or empty.
void Transfer::pass_response_body(std::string_view bytes, std::string head) {
  const http::BodyCoder::Piece piece = down_.take(bytes, scratch_);
  if (piece.consumed < bytes.size()) {
    backend_keeps_ = false;  // nobody asked for what follows
  }
  down_bytes_ += piece.payload;
  if (piece.payload > 0 && !tell_filters(Direction::kDown, piece.payload, down_.done())) {
    return;
  }
  if (head.empty()) {
    write_down(piece.bytes);
  } else {
    head.append(piece.bytes);
    write_down(head);
  }
  if (!down_.fault().empty()) {
    fault_ = down_.fault();
    finish(End::kBroken);
    return;
  }
  maybe_done();
}

void Transfer::write_down(std::string_view bytes) {
  if (bytes.empty()) {
    return;
  }
  const std::size_t taken = to_client_.empty() ? client().write(as_bytes(bytes)) : 0;
  if (taken < bytes.size()) {
    to_client_.append(bytes.substr(taken));
    parts_.backend->pause();
  }
}

// ---- both

bool Transfer::tell_filters(Direction direction, std::size_t payload, bool ends) {
  filter::Exchange& exchange = *parts_.exchange;
  if (Account* account = exchange.account; account != nullptr) {
    Account::add(direction == Direction::kUp ? account->bytes_up : account->bytes_down, payload);
  }
  if (!parts_.filters->has_data_hooks()) {
    return true;
  }
  const filter::DataUnit unit{direction, websocket::Opcode::kBinary, false, ends, payload};
  const filter::Verdict verdict = parts_.filters->data(exchange, unit);
  if (verdict.kind() != filter::Verdict::Kind::kClose) {
    return true;
  }
  cut_cause_ = verdict.detail()->cause;
  finish(End::kCut);
  return false;
}

void Transfer::on_end(net::Side& side) {
  if (is_client(side)) {
    finish(End::kClientGone);
    return;
  }
  if (!answered_) {
    finish(backend_heard_ && !head_.empty() ? End::kBackendInvalid : End::kBackendGone);
    return;
  }
  std::string last;
  const bool complete = down_.end(last);
  write_down(last);
  backend_keeps_ = false;
  if (complete) {
    maybe_done();
  } else {
    finish(End::kBroken);
  }
}

void Transfer::on_error(net::Side& side, absl::Status /*status*/) {
  if (is_client(side)) {
    finish(End::kClientGone);
  } else if (answered_) {
    // All of it may have come before, and waits for the client.
    backend_keeps_ = false;
    if (!down_.done()) {
      finish(End::kBroken);
    }
  } else {
    finish(End::kBackendGone);
  }
}

void Transfer::on_writable(net::Side& side) {
  progress_ = loop_.clock().now();
  const bool down = is_client(side);
  std::string& waiting = down ? to_client_ : to_backend_;
  waiting.erase(0, side.write(as_bytes(waiting)));
  if (!waiting.empty()) {
    return;
  }
  std::string().swap(waiting);
  if (down) {
    parts_.backend->resume();
  } else if (!up_.done() || parts_.client->unread().empty()) {
    client().resume();
  }
  maybe_done();
}

void Transfer::maybe_done() {
  if (end_ != End::kNone || !answered_ || !down_.done() || !to_client_.empty()) {
    return;
  }
  // A response that is complete before its request was ends both connections.
  const bool all_sent = up_.done() && to_backend_.empty();
  client_reusable_ = client_keeps_ && all_sent;
  backend_keeps_ = backend_keeps_ && all_sent;
  finish(End::kDone);
}

// What it means that nothing moves any more.
Transfer::End Transfer::late() const {
  if (answered_) {
    return End::kBroken;
  }
  return !up_.done() && to_backend_.empty() ? End::kBodySlow : End::kBackendSlow;
}

Mono Transfer::due() const {
  const model::HttpLimits& http = parts_.exchange->api->http;
  switch (late()) {
    case End::kBroken:
      return progress_ + (to_client_.empty()
                              ? http.idle_timeout
                              : std::min(http.idle_timeout, limits::kClientStallTimeout));
    case End::kBodySlow:
      return progress_ + http.request_body_timeout;
    default:
      return progress_ + parts_.response_timeout;
  }
}

void Transfer::arm() {
  Mono next = due();
  if (!long_told_) {
    next = std::min(next, begin_ + limits::kHttpLongAfter);
  }
  if (const Wall at = parts_.exchange->recheck_at; long_told_ && at != Wall::max()) {
    // Wall time may run up to a tenth faster than the timer: fires early and looks again.
    next = std::min(next, loop_.clock().now() +
                              std::max(at - loop_.clock().wall(), nanoseconds::zero()) / 11 * 10);
  }
  loop_.timers().arm(timer_, next);
}

void Transfer::tick() {
  const Mono now = loop_.clock().now();
  if (now >= due()) {
    finish(late());
    return;
  }
  const bool recheck_due = loop_.clock().wall() >= parts_.exchange->recheck_at;
  if (now >= begin_ + limits::kHttpLongAfter && (!long_told_ || recheck_due)) {
    long_told_ = true;
    hooks_.is_long();
  }
  if (end_ == End::kNone) {
    arm();
  }
}

void Transfer::finish(End end) {
  if (end_ != End::kNone) {
    return;
  }
  end_ = end;
  timer_.cancel();
  client().pause();
  client().set_user(parts_.client);
  parts_.backend->set_user(nullptr);
  over_.set(absl::OkStatus());
}

}  // namespace sluice::session
