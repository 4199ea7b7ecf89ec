// A live WebSocket between two sides: two lanes, the keep-alive, the limits of its life, and how it
// closes. Plain code that the loop calls; no coroutine sleeps meanwhile.
#pragma once

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

// Loop thread only.
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
  filter::Exchange& exchange() { return *parts_.exchange; }
  filter::FilterInstances& filters() { return *parts_.filters; }
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
  void tick();
  void ping_both();
  bool ping_one(Lane& input, Lane& output, bool masked);
  void arm_tick();
  Mono recheck_time() const;
  void finish();
  std::array<std::uint8_t, 4> mask();

  net::Loop& loop_;
  Parts parts_;
  std::function<void()> over_;
  Lane up_;
  Lane down_;
  std::uint64_t message_bytes_max_ = 0;
  Mono last_data_;
  Mono begin_;
  Mono last_notice_;
  Deadlines due_;
  nanoseconds ping_interval_{};
  nanoseconds idle_timeout_{};
  std::string ping_payload_;
  Timer tick_timer_;
  std::uint8_t misses_client_ = 0;
  std::uint8_t misses_backend_ = 0;
  bool pinged_client_ = false;
  bool pinged_backend_ = false;
  bool closing_ = false;
  bool finished_ = false;
};

}  // namespace sluice::session
