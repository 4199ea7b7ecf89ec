#include "proxy/session/relay.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "proxy/base/limits.h"
#include "proxy/filter/refusal.h"
#include "proxy/websocket/close.h"

namespace sluice::session {

using filter::CloseCause;
using filter::Direction;
using telemetry::CloseSide;
using websocket::From;
using websocket::MessageTracker;

namespace {

std::string random_text(Rng& rng, std::size_t size) {
  std::string out(size, '\0');
  for (char& c : out) {
    c = static_cast<char>('a' + rng.below(26));
  }
  return out;
}

// What we tell a backend: codes that only a server may send become "going away".
std::uint16_t code_for_backend(std::uint16_t code) {
  using namespace websocket::close_code;
  return code == kServiceRestart || code == kTryAgainLater || code == kBadGateway ? kGoingAway
                                                                                  : code;
}

}  // namespace

Relay::Relay(net::Loop& loop, Parts parts, std::function<void()> over)
    : loop_(loop),
      exchange_(parts.exchange),
      filters_(parts.filters),
      account_(exchange_->account),
      last_data_(loop.clock().now()),
      up_(*this, Direction::kUp, MessageTracker(From::kClient, parts.deflate)),
      down_(*this, Direction::kDown, MessageTracker(From::kServer, parts.deflate)),
      client_(std::move(parts.client)),
      backend_(std::move(parts.backend)),
      over_(std::move(over)),
      begin_(loop.clock().now()),
      last_notice_(loop.clock().now() - limits::kNoticeInterval),
      ping_payload_("sluice-" + random_text(loop.rng(), 8)),
      tick_timer_([](void* self) { static_cast<Relay*>(self)->tick(); }, this) {
  up_.attach(*backend_);
  down_.attach(*client_);
  adopt_limits();
  adopt_filters();
}

Relay::~Relay() {
  client_->set_user(nullptr);
  backend_->set_user(nullptr);
}

void Relay::start(std::string from_client, std::string from_backend) {
  client_->set_user(&up_);
  backend_->set_user(&down_);
  arm_tick();
  up_.start(std::move(from_client));
  down_.start(std::move(from_backend));
}

void Relay::adopt_limits() {
  const model::WebSocketLimits& limits = exchange().api->limits;
  message_bytes_max_ = limits.message_bytes_max;
  idle_timeout_ = limits.idle_timeout;
  due_.age = limits.age_max > nanoseconds::zero() ? begin_ + limits.age_max : kNever;
  if (ping_interval_ != limits.ping_interval) {
    ping_interval_ = limits.ping_interval;
    due_.ping =
        ping_interval_ > nanoseconds::zero() ? loop_.clock().now() + ping_interval_ : kNever;
  }
}

void Relay::adopt_filters() {
  has_data_hooks_ = filters_->has_data_hooks();
  only_filter_ = filters_->only_data_filter();
}

bool Relay::control_flood(Direction direction) {
  ControlRate& rate = control_rates_[static_cast<std::size_t>(direction)];
  const std::int64_t second =
      duration_cast<seconds>(loop_.clock().now().time_since_epoch()).count();
  rate.frames = second == rate.second ? rate.frames + 1 : 1;
  rate.second = second;
  return rate.frames > limits::kControlFramesPerSecondMax;
}

void Relay::close(CloseCause cause, std::string reason) {
  if (finished_) {
    return;
  }
  const std::uint16_t code = close_code(cause, exchange().api->close_codes);
  const std::string words = reason.empty() ? std::string(close_reason(cause)) : std::move(reason);
  if (closing_) {
    due_.close = std::min(due_.close, loop_.clock().now() + limits::kCloseTimeout);
    arm_tick();
  } else {
    begin_close(CloseSide::kProxy, code, words);
  }
  down_.insert_close(websocket::make_close(code, words));
  if (finished_) {
    return;
  }
  if (cause == CloseCause::kPingsUnanswered) {
    close_towards_backend(websocket::close_code::kGoingAway, words);
  } else {
    close_towards_backend(code_for_backend(code), words);
  }
  maybe_finish();
}

void Relay::close_towards_backend(std::uint16_t code, std::string_view reason) {
  up_.insert_close(websocket::make_close(code, reason, mask()));
}

void Relay::begin_close(CloseSide side, std::uint16_t code, std::string_view reason) {
  closing_ = true;
  filter::Ending& ending = exchange().ending;
  ending.close_side = side;
  ending.close_code = code;
  ending.reason = reason;
  due_.close = loop_.clock().now() +
               (side == CloseSide::kProxy ? limits::kCloseTimeout : limits::kPeerCloseTimeout);
  arm_tick();
}

void Relay::peer_closes(Lane& lane, std::uint16_t code, std::string_view reason) {
  if (!closing_) {
    begin_close(&lane == &up_ ? CloseSide::kClient : CloseSide::kBackend, code, reason);
  }
}

void Relay::peer_gone(Lane& lane, bool broken) {
  const bool client = &lane == &up_;
  Lane& other = client ? down_ : up_;
  if (broken) {
    other.abandon_output();
  }
  if (!closing_) {
    using namespace websocket::close_code;
    if (client) {
      begin_close(CloseSide::kClient, kAbnormal, "client gone without a close frame");
      down_.abandon_output();
      close_towards_backend(kGoingAway, "client gone");
    } else {
      const std::string_view words = close_reason(CloseCause::kBackendGone);
      begin_close(CloseSide::kBackend,
                  close_code(CloseCause::kBackendGone, exchange().api->close_codes), words);
      up_.abandon_output();
      down_.insert_close(websocket::make_close(exchange().ending.close_code, words));
    }
    // Only the echo of our own close frame is waited for, and not for long.
    due_.close = loop_.clock().now() + limits::kCloseTimeout;
    arm_tick();
  } else if (!lane.close_seen() && other.close_seen()) {
    // The peer ended instead of echoing a close frame: its partner gets the echo from us.
    const std::uint16_t code = exchange().ending.close_code;
    lane.insert_close(client ? websocket::make_close(code, "", mask())
                             : websocket::make_close(code, ""));
  }
  maybe_finish();
}

void Relay::notice(std::string_view text) {
  const Mono now = loop_.clock().now();
  if (now - last_notice_ < limits::kNoticeInterval || closing_) {
    return;
  }
  last_notice_ = now;
  down_.insert_message(websocket::make_frame(websocket::Opcode::kText, text));
}

void Relay::recheck() {
  if (finished_) {
    return;
  }
  adopt_limits();
  adopt_filters();
  const filter::Verdict verdict = filters_->recheck(exchange());
  if (verdict.kind() == filter::Verdict::Kind::kClose) {
    close(verdict.detail()->cause, verdict.detail()->text);
    return;
  }
  // A hold may have become shorter with the plan; asking again early costs one scan.
  up_.ask_again();
  down_.ask_again();
  arm_tick();
}

// Wall time of the recheck as monotonic time. Wall time may run up to a tenth faster, so the timer
// fires that much earlier and it is looked at again.
Mono Relay::recheck_time() const {
  const Wall at = exchange_->recheck_at;
  if (at == Wall::max()) {
    return kNever;
  }
  return loop_.clock().now() + std::max(at - loop_.clock().wall(), nanoseconds::zero()) / 11 * 10;
}

void Relay::arm_tick() {
  Mono next = std::min(due_.close, recheck_time());
  if (!closing_) {
    next = std::min({next, due_.ping, due_.age});
    if (idle_timeout_ > nanoseconds::zero()) {
      next = std::min(next, last_data_ + idle_timeout_);
    }
  }
  loop_.timers().arm(tick_timer_, next);
}

void Relay::tick() {
  const Mono now = loop_.clock().now();
  if (now >= due_.close) {
    finish();
    return;
  }
  if (loop_.clock().wall() >= exchange().recheck_at) {
    exchange().recheck_at = Wall::max();  // the filters set it anew if there is more to come
    recheck();
  }
  if (!closing_ && idle_timeout_ > nanoseconds::zero() && now >= last_data_ + idle_timeout_) {
    close(CloseCause::kIdle);
  }
  if (!closing_ && now >= due_.age) {
    close(CloseCause::kTooOld);
  }
  if (!closing_ && now >= due_.ping) {
    ping_both();
  }
  if (!finished_) {
    arm_tick();
  }
}

void Relay::ping_both() {
  due_.ping = loop_.clock().now() + ping_interval_;
  const auto missed = [](Lane& input, bool pinged, std::uint8_t& misses) {
    const bool heard = input.take_heard();
    misses = !pinged || heard || input.stopped() ? 0 : misses + 1;
    return misses >= limits::kPingMissesMax;
  };
  const bool client_dead = missed(up_, pinged_client_, misses_client_);
  const bool backend_dead = missed(down_, pinged_backend_, misses_backend_);
  if (client_dead || backend_dead) {
    close(CloseCause::kPingsUnanswered);
    return;
  }
  pinged_client_ = ping_one(up_, down_, false);
  pinged_backend_ = ping_one(down_, up_, true);
}

// Returns whether a ping went out whose answer can be expected.
bool Relay::ping_one(Lane& input, Lane& output, bool masked) {
  if (input.stopped() || output.mid_frame() || !output.output_flushed()) {
    return false;
  }
  output.insert_control(
      masked ? websocket::make_frame(websocket::Opcode::kPing, ping_payload_, true, mask())
             : websocket::make_frame(websocket::Opcode::kPing, ping_payload_));
  return true;
}

void Relay::maybe_finish() {
  if (closing_ && !up_.input_open() && !down_.input_open() && up_.output_flushed() &&
      down_.output_flushed()) {
    finish();
  }
}

void Relay::finish() {
  if (finished_) {
    return;
  }
  finished_ = true;
  tick_timer_.cancel();
  up_.stop();  // a hold may end in this very turn
  down_.stop();
  client_->end();
  backend_->end();
  over_();
}

std::array<std::uint8_t, 4> Relay::mask() {
  const std::uint64_t bits = loop_.rng().next();
  std::array<std::uint8_t, 4> out;
  std::memcpy(out.data(), &bits, out.size());
  return out;
}

}  // namespace sluice::session
