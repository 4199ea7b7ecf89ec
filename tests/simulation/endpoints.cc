#include "tests/simulation/endpoints.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <utility>

#include "proxy/websocket/close.h"
#include "proxy/websocket/handshake.h"

namespace sluice::simulation {
namespace {

using websocket::Opcode;

constexpr std::string_view kHeadEnd = "\r\n\r\n";

// A header's value; `name` with its colon and space.
std::string header(std::string_view head, std::string_view name) {
  const std::size_t at = head.find(name);
  if (at == std::string_view::npos) {
    return "";
  }
  const std::size_t begin = at + name.size();
  return std::string(head.substr(begin, head.find("\r\n", begin) - begin));
}

// The digits at the front of `text`.
template <class Number>
Number number_in(std::string_view text) {
  Number number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

Endpoint::Endpoint(const Parts& parts, Place place, std::unique_ptr<net::Side> side)
    : parts_(parts), place_(place), side_(std::move(side)) {
  side_->set_user(this);
  side_->resume();
}

void Endpoint::on_bytes(net::Side&, MutableBytes bytes) {
  unread_ += as_text(bytes);
  if (!head_done_) {
    const std::size_t end = unread_.find(kHeadEnd);
    if (end == std::string::npos) {
      return;
    }
    head_done_ = true;
    const std::string head = unread_.substr(0, end + kHeadEnd.size());
    unread_.erase(0, head.size());
    frames_ = on_head(head);
  }
  while (side_ != nullptr && frames_ && step()) {
  }
}

// Reads a frame's head, or as much of its payload as there is.
bool Endpoint::step() {
  if (!in_frame_) {
    const websocket::FrameParse parsed = parse_frame_head(as_bytes(unread_), frame_);
    if (parsed != websocket::FrameParse::kDone) {
      if (parsed == websocket::FrameParse::kError && talk_ != nullptr) {
        parts_.checks.broken(*talk_, "what arrives is WebSocket", "a frame's head is none");
      }
      return false;
    }
    unread_.erase(0, frame_.head_bytes);
    in_frame_ = true;
    left_ = frame_.payload_bytes;
    payload_.clear();
  }
  const std::size_t size = std::min<std::size_t>(left_, unread_.size());
  if (size == 0 && left_ > 0) {
    return false;
  }
  std::string piece = unread_.substr(0, size);
  unread_.erase(0, size);
  if (frame_.masked) {
    websocket::apply_mask({reinterpret_cast<std::uint8_t*>(piece.data()), size}, frame_.mask,
               payload_.size());
  }
  if (!is_control(frame_.opcode)) {
    if (!begun_ && size > 0) {
      begun_ = true;
      on_begin(piece.front());
    }
    on_data(size);
  }
  payload_ += piece;
  left_ -= size;
  if (left_ == 0) {
    in_frame_ = false;
    frame_done();
  }
  return true;
}

void Endpoint::frame_done() {
  switch (frame_.opcode) {
    case Opcode::kPing:
      on_ping(payload_);
      return;
    case Opcode::kPong:
      return;
    case Opcode::kClose: {
      const auto close = websocket::parse_close(payload_);
      on_close(close ? close->code : 0, close ? close->reason : "");
      return;
    }
    default:
      message_ += payload_;
      if (frame_.fin) {
        begun_ = false;
        on_message(std::exchange(message_, {}));
      }
  }
}

void Endpoint::on_end(net::Side&) {
  drop();
  on_over();
}

void Endpoint::on_error(net::Side&, absl::Status) {
  drop();
  on_over();
}

void Endpoint::on_writable(net::Side&) { flush(); }

void Endpoint::send(std::string bytes) {
  if (side_ != nullptr && !end_after_) {
    waiting_ += bytes;
    flush();
  }
}

void Endpoint::end() {
  end_after_ = true;
  flush();
}

void Endpoint::flush() {
  if (side_ == nullptr) {
    return;
  }
  if (!waiting_.empty()) {
    waiting_.erase(0, side_->write(as_bytes(waiting_)));
  }
  if (waiting_.empty() && end_after_) {
    side_->end();
  }
  if (talk_ != nullptr) {
    talk_->unsent[static_cast<std::size_t>(place_)] = !waiting_.empty();
  }
}

// ---- clients

Client::Client(const Parts& parts, Talk& talk, std::unique_ptr<net::Side> side, std::string token)
    : Endpoint(parts, Place::kClient, std::move(side)) {
  talk_ = &talk;
  send(fmt::format("GET /{}/v1/topic?x=1 HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   "Sec-WebSocket-Version: 13\r\nX-Talk: {}\r\nAuthorization: Bearer {}\r\n\r\n",
                   talk.api, talk.index, token));
}

bool Client::may_send() const {
  constexpr std::uint64_t kUnderWayMax = 12;  // so that what limits delay does not pile up
  return !gone() && talk_->undisturbed() && talk_->accepted &&
         parts_.checks.waiting(*talk_) < kUnderWayMax;
}

websocket::MaskKey Client::mask() {
  const std::uint64_t bits = parts_.chance.rng().next();
  websocket::MaskKey key;
  std::memcpy(key.data(), &bits, key.size());
  return key;
}

std::string Client::next_text() {
  const int padding = parts_.chance.percent(10) ? parts_.chance.between(100, 900)
                                                : parts_.chance.between(0, 40);
  return fmt::format("m{} {}", ++number_, std::string(static_cast<std::size_t>(padding), 'x'));
}

void Client::burst(int messages) {
  while (!pieces_.empty()) {
    piece();
    if (!may_send()) {
      return;
    }
  }
  for (int i = 0; i < messages && may_send(); ++i) {
    ++talk_->up.sent;
    send(make_frame(Opcode::kText, next_text(), true, mask()));
  }
}

void Client::piece() {
  if (gone() || !talk_->undisturbed() || !talk_->accepted || (pieces_.empty() && !may_send())) {
    return;
  }
  if (pieces_.empty()) {
    const std::string text = next_text();
    const std::size_t middle = 1 + parts_.chance.rng().below(text.size());
    pieces_ = {text.substr(0, 1), text.substr(1, middle - 1), text.substr(middle)};
    first_piece_ = true;
    ++talk_->up.sent;
  } else if (parts_.chance.percent(30)) {
    ping();
  }
  const std::string text = std::move(pieces_.front());
  pieces_.pop_front();
  const Opcode opcode = std::exchange(first_piece_, false) ? Opcode::kText : Opcode::kContinuation;
  send(make_frame(opcode, text, pieces_.empty(), mask()));
}

void Client::ping() {
  if (!gone() && talk_->live() && talk_->accepted && !talk_->client_closed) {
    send(make_frame(Opcode::kPing, "hello", true, mask()));
  }
}

void Client::close() {
  if (!gone() && talk_->live() && talk_->accepted && !talk_->client_closed) {
    talk_->client_closed = true;
    parts_.checks.did(*talk_, "closes");
    send(websocket::make_close(1000, "client bye", mask()));
  }
}

void Client::vanish() {
  if (gone() || talk_->state == Talk::State::kOver) {
    return;
  }
  talk_->client_vanished = true;
  parts_.checks.murky(*talk_);
  parts_.checks.did(*talk_, "vanishes");
  talk_->state = Talk::State::kOver;
  talk_->ended = parts_.schedule.now();
  drop();
}

bool Client::on_head(std::string_view head) {
  talk_->status = number_in<int>(head.substr(std::string_view("HTTP/1.1 ").size()));
  talk_->id = header(head, "X-Request-Id: ");
  if (talk_->status != 101) {
    return false;
  }
  talk_->state = Talk::State::kOpen;
  talk_->accepted = true;
  parts_.checks.opened(*talk_);
  return true;
}

void Client::on_begin(char first) {
  notice_ = first == 'n';
  if (!notice_) {
    ++talk_->down.messages;
    parts_.checks.passed(*talk_, false);
  }
}

void Client::on_data(std::size_t bytes) { talk_->down.bytes += notice_ ? 0 : bytes; }

void Client::on_message(std::string_view text) {
  if (is_notice(text)) {
    return;
  }
  parts_.checks.arrived(*talk_, false, number_in<std::uint64_t>(text.substr(1)));
}

void Client::on_close(std::uint16_t code, std::string_view reason) {
  if (!talk_->client_closed && !talk_->backend_closed) {
    parts_.checks.closed_by_proxy(*talk_, code, std::string(reason));
  }
  talk_->close_seen = true;
  if (!talk_->client_closed && !talk_->client_silent) {
    send(websocket::make_close(code, "", mask()));
  }
}

void Client::on_ping(const std::string& payload) {
  if (!talk_->client_silent) {
    send(make_frame(Opcode::kPong, payload, true, mask()));
  }
}

void Client::on_over() {
  if (talk_->state == Talk::State::kOpen && !talk_->close_seen && !talk_->client_closed) {
    parts_.checks.broken(*talk_, "a connection ends by a close frame", "it just ended");
  }
  if (talk_->status == 0) {
    parts_.checks.broken(*talk_, "a handshake is answered", "it just ended");
  }
  const bool refused = talk_->state == Talk::State::kHandshake;
  talk_->close_seen = true;
  talk_->state = Talk::State::kOver;
  talk_->ended = parts_.schedule.now();
  if (refused) {
    constexpr std::string_view kCode = R"("code":")";
    const std::size_t at = rest().find(kCode);
    if (at != std::string_view::npos) {
      talk_->code = number_in<int>(rest().substr(at + kCode.size()));
    }
    parts_.checks.refused(*talk_);
  }
}

// ---- back ends

bool Backend::on_head(std::string_view head) {
  const std::string key = header(head, "Sec-WebSocket-Key: ");
  if (head.find("sluice-health-check") != std::string_view::npos) {
    parts_.schedule.after(parts_.chance.lateness(), [this, key] { answer(key); });
    return true;
  }
  const auto number = number_in<std::size_t>(header(head, "X-Talk: "));
  talk_ = parts_.talks.at(number).get();
  talk_->backend_seen = true;
  talk_->backend_over = false;
  dial_ = ++talk_->dials;
  talk_->id = header(head, "X-Request-Id: ");
  if (head.find("Authorization") != std::string_view::npos) {
    parts_.checks.broken(*talk_, "credentials end at the proxy", "the backend got them");
  }
  const std::string_view target = head.substr(4, head.find(' ', 4) - 4);
  if (!target.ends_with("/topic?x=1")) {
    parts_.checks.broken(*talk_, "topic and query arrive", target);
  }
  parts_.checks.dialled(*talk_, header(head, "Host: "), target.substr(0, target.rfind('?')));
  if (manner_ == Manner::kDie) {
    die();
    return true;
  }
  parts_.schedule.after(parts_.chance.lateness(), [this, key] { answer(key); });
  return true;
}

void Backend::answer(const std::string& key) {
  if (gone()) {
    return;
  }
  if (manner_ == Manner::kGarbage) {
    parts_.checks.surroundings().dial_refused = parts_.schedule.now();
    send("what is this?\r\n\r\n");
    end();
    return;
  }
  if (manner_ == Manner::kRefuse) {
    if (talk_ != nullptr) {
      talk_->backend_refused = true;
    }
    send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy");
    end();
    return;
  }
  open_ = true;
  send(http::serialize(websocket::make_upgrade_response(key)));
}

void Backend::on_begin(char) {
  ++talk_->up.messages;
  parts_.checks.passed(*talk_, true);
}

void Backend::on_data(std::size_t bytes) { talk_->up.bytes += bytes; }

void Backend::on_message(std::string_view text) {
  parts_.checks.arrived(*talk_, true, number_in<std::uint64_t>(text.substr(1)));
  if (closing_) {
    return;
  }
  ++talk_->down.sent;
  if (text.size() > 4 && parts_.chance.percent(15)) {
    const std::size_t middle = 1 + parts_.chance.rng().below(text.size() - 1);
    send(make_frame(Opcode::kText, text.substr(0, middle), false) +
         make_frame(Opcode::kContinuation, text.substr(middle), true));
  } else {
    send(make_frame(Opcode::kText, text));
  }
}

void Backend::on_close(std::uint16_t code, std::string_view) {
  if (!closing_) {
    send(websocket::make_close(code));
  }
  closing_ = true;
  end();
}

void Backend::on_ping(const std::string& payload) { send(make_frame(Opcode::kPong, payload)); }

void Backend::on_over() {
  if (talk_ != nullptr && talk_->dials == dial_) {
    talk_->backend_over = true;
  }
}

void Backend::die() {
  if (!gone() && talk_ != nullptr) {
    talk_->backend_lost = true;
    parts_.checks.did(*talk_, "loses its backend");
    talk_->backend_over = true;
    parts_.checks.murky(*talk_);
    drop();
  }
}

void Backend::close() {
  if (open() && !closing_ && talk_ != nullptr && talk_->live()) {
    talk_->backend_closed = true;
    parts_.checks.did(*talk_, "is closed by its backend");
    closing_ = true;
    send(websocket::make_close(1000, "backend bye"));
  }
}

void Backends::trouble(const std::string& host, Trouble trouble) {
  troubles_[host] = trouble;
  parts_.checks.endpoints().trouble(host, true);
}

void Backends::mend(const std::string& host) {
  troubles_.erase(host);
  parts_.checks.endpoints().trouble(host, false);
}

void Backends::mend_all() {
  while (!troubles_.empty()) {
    mend(std::string(troubles_.begin()->first));
  }
}

Backends::Fate Backends::fate_of(const std::string& host) {
  if (const auto found = troubles_.find(host); found != troubles_.end()) {
    switch (found->second) {
      case Trouble::kRefuses:
        return Fate::kRefuse;
      case Trouble::kHangs:
        return Fate::kHang;
      case Trouble::kBusy:
        return Fate::kBusy;
      case Trouble::kGarbage:
        return Fate::kGarbage;
    }
  }
  const int draw = reliable ? 100 : parts_.chance.between(0, 99);
  return draw < 2    ? Fate::kHang
         : draw < 6  ? Fate::kRefuse
         : draw < 9  ? Fate::kBusy
         : draw < 12 ? Fate::kDie
                     : Fate::kAccept;
}

Task<absl::StatusOr<std::unique_ptr<net::Side>>> Backends::connect(std::string host,
                                                                   Mono deadline) {
  Faults& faults = parts_.checks.surroundings();
  const Fate fate = fate_of(host);
  if (fate == Fate::kHang) {
    SLUICE_CO_RETURN_IF_ERROR(co_await sleep_until(loop_->timers(), deadline));
    faults.dial_timed_out = parts_.schedule.now();
    co_return deadline_exceeded("the simulated backend does not answer");
  }
  const Mono until = loop_->clock().now() + parts_.chance.lateness();
  SLUICE_CO_RETURN_IF_ERROR(co_await sleep_until(loop_->timers(), until));
  if (fate == Fate::kRefuse) {
    faults.dial_refused = parts_.schedule.now();
    co_return unavailable("the simulated backend refuses");
  }
  auto [ours, theirs] = net::make_pipe(*loop_, rules_);
  const Backend::Manner manner = fate == Fate::kBusy      ? Backend::Manner::kRefuse
                                 : fate == Fate::kDie     ? Backend::Manner::kDie
                                 : fate == Fate::kGarbage ? Backend::Manner::kGarbage
                                                          : Backend::Manner::kAccept;
  all_.push_back(std::make_unique<Backend>(parts_, std::move(ours), manner));
  co_return std::move(theirs);
}

}  // namespace sluice::simulation
