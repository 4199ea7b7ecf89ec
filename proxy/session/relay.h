// A live WebSocket between two sides: two lanes, the keep-alive, the limits of its life, and how it
// closes. Plain code that the loop calls; no coroutine sleeps meanwhile.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "proxy/base/timer_wheel.h"
#include "proxy/filter/chain.h"
#include "proxy/filter/exchange.h"
#include "proxy/net/loop.h"
#include "proxy/net/side.h"
#include "proxy/session/lane.h"

namespace sluice::session {

// Loop thread only. What a message touches are the first three cache lines: the relay's own and one
// for each lane.
class Relay {
 public:
  struct Parts {
    std::unique_ptr<net::Side> client;
    std::unique_ptr<net::Side> backend;
    filter::Exchange* exchange = nullptr;        // outlives the relay
    filter::FilterInstances* filters = nullptr;  // outlives the relay
    bool deflate = false;                        // permessage-deflate was negotiated
  };

  // `over` is called once, from the loop, when both connections are finished; it may destroy the
  // relay only after returning (post it).
  Relay(net::Loop& loop, Parts parts, std::function<void()> over);
  ~Relay();

  // `from_client`, `from_backend`: what was read behind the handshakes' heads.
  void start(std::string from_client, std::string from_backend);

  // Closes both ways with the cause's code (its own words where `reason` is empty). A close under
  // way keeps its code, but nothing more passes, and it ends within limits::kCloseTimeout.
  void close(filter::CloseCause cause, std::string reason = "");

  // Asks the filters again, and the limits of the exchange's API are read anew.
  void recheck();

  // ---- for the lanes
  net::Loop& loop() { return loop_; }
  filter::Exchange& exchange() { return *exchange_; }
  telemetry::Account* account() { return account_; }
  bool has_data_hooks() const { return has_data_hooks_; }
  filter::Verdict ask(const filter::DataUnit& unit) {
    return only_filter_ != nullptr ? only_filter_->data(*exchange_, unit)
                                   : filters_->data(*exchange_, unit);
  }
  void prefetch() const {
    constexpr int kToWrite = 1;
    __builtin_prefetch(account_, kToWrite);
    __builtin_prefetch(only_filter_, kToWrite);
  }
  Lane& other(const Lane& lane) { return &lane == &up_ ? down_ : up_; }
  net::Side& input(const Lane& lane) { return &lane == &up_ ? *client_ : *backend_; }
  // Counts a control frame from `direction`; true: there were too many in this second.
  bool control_flood(filter::Direction direction);
  const std::string& ping_payload() const { return ping_payload_; }
  std::uint64_t message_bytes_max() const { return message_bytes_max_; }
  bool closing() const { return closing_; }
  void data_passed() { last_data_ = loop_.clock().now(); }
  // The peer of `lane`'s input sent a close frame, which goes on to the other side.
  void peer_closes(Lane& lane, std::uint16_t code, std::string_view reason);
  // The stream of `lane`'s input ended or broke.
  void peer_gone(Lane& lane, bool broken);
  void notice(std::string_view text);
  void maybe_finish();

 private:
  // When each of these is due; kNever where it is not.
  struct Deadlines {
    Mono ping = kNever;
    Mono age = kNever;
    Mono close = kNever;
  };

  void begin_close(telemetry::CloseSide side, std::uint16_t code, std::string_view reason);
  void close_towards_backend(std::uint16_t code, std::string_view reason);
  void adopt_limits();
  void adopt_filters();
  void tick();
  void ping_both();
  bool ping_one(Lane& input, Lane& output, bool masked);
  void arm_tick();
  Mono recheck_time() const;
  void finish();
  std::array<std::uint8_t, 4> mask();

  // Control frames of one direction.
  struct ControlRate {
    std::int64_t second = 0;
    std::uint32_t frames = 0;  // in it
  };

  net::Loop& loop_;
  filter::Exchange* exchange_;
  filter::FilterInstances* filters_;
  filter::Filter* only_filter_ = nullptr;  // that has a data hook; null: none or several
  telemetry::Account* account_ = nullptr;
  std::uint64_t message_bytes_max_ = 0;
  Mono last_data_;
  bool has_data_hooks_ = false;
  bool closing_ = false;
  bool finished_ = false;
  bool pinged_client_ = false;
  bool pinged_backend_ = false;
  std::uint8_t misses_client_ = 0;
  std::uint8_t misses_backend_ = 0;
  Lane up_;
  Lane down_;
  std::unique_ptr<net::Side> client_;
  std::unique_ptr<net::Side> backend_;
  std::function<void()> over_;
  Mono begin_;
  Mono last_notice_;
  Deadlines due_;
  nanoseconds ping_interval_{};
  nanoseconds idle_timeout_{};
  std::array<ControlRate, 2> control_rates_{};  // by direction
  std::string ping_payload_;
  Timer tick_timer_;
};

}  // namespace sluice::session
