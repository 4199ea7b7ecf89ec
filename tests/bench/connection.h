// One WebSocket of the load generator: connects, upgrades, sends masked messages, checks every byte
// that comes back.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proxy/base/clock.h"
#include "proxy/base/rng.h"
#include "tests/bench/frames.h"
#include "tests/bench/options.h"
#include "tests/bench/pattern.h"
#include "tests/bench/transport.h"

namespace sluice::bench {

class Connection;

// What happens on connections. Called from within Connection::handle().
class ConnectionEvents {
 public:
  virtual ~ConnectionEvents() = default;
  virtual void on_open(Connection& connection) = 0;
  // A binary message has come; `id` when every byte of it is right.
  virtual void on_message(Connection& connection, const std::optional<MessageId>& id) = 0;
  // A text message has come: not an echo, but a notice of the proxy. At most 512 bytes of it.
  virtual void on_notice(Connection& connection, std::string_view text) = 0;
};

// How a connection ended. Times are monotonic.
struct Ending {
  int status = 0;             // HTTP status of the handshake's answer; 0: none came
  std::string body;           // of a refusal, at most 1 KiB
  std::uint16_t code = 1006;  // of the close frame; 1006: none came
  std::string reason;
  bool by_peer = false;  // the peer's close frame, or its end without one, came first
  Mono at{};             // when that came, or when it was ended from here
  std::string error;     // empty where all went as RFC 6455 wants it
};

// What the connections of a run have in common. One thread.
struct Shared {
  const Pattern& pattern;
  ConnectionEvents& events;
  SSL_CTX& tls;
  MutableBytes buffer;
  Rng rng;
  Mono now{};  // the time of the current event
};

class Connection {
 public:
  // `request_headers` are whole lines, each with its CRLF. The references outlive the connection.
  Connection(std::uint32_t id, const Target& target, std::string request_headers, Shared& shared);

  // Begins to connect; registers with `epoll` with this object as its data.
  absl::Status start(const Fd& epoll);

  // An event of epoll. Afterwards it may have ended().
  void handle(std::uint32_t events);

  // Writes one message; flush() sends it.
  void queue_message(const MessageId& id);
  void queue_close(std::uint16_t code);
  // Sends what the socket takes; the rest follows with its next event.
  void flush();

  // Ends it from here without ceremony.
  void abort(std::string_view error);

  std::uint32_t id() const { return id_; }
  bool is_open() const { return stage_ == Stage::kOpen && !close_received_ && !close_sent_; }
  bool opening() const { return stage_ == Stage::kConnecting || stage_ == Stage::kUpgrading; }
  bool ended() const { return stage_ == Stage::kEnded; }
  // The upgrade has been done, be it closed or not.
  bool was_open() const { return opened_at_ != Mono{}; }
  Mono opened_at() const { return opened_at_; }
  // When start() was called.
  Mono started_at() const { return started_at_; }
  bool close_received() const { return close_received_; }
  const Ending& ending() const { return ending_; }

  // For FrameReader.
  bool on_header(const FrameHeader& header);
  void on_payload(MutableBytes bytes, std::uint64_t at);
  bool on_end();

 private:
  enum class Stage { kConnecting, kUpgrading, kOpen, kEnded };

  void send_request();
  void read_all(bool to_end);
  void take(MutableBytes bytes);
  void take_answer(MutableBytes bytes);
  void check_upgrade(std::string_view head);
  void take_refusal(std::string_view head, std::string_view body);
  void on_message_end();
  void on_close_frame();
  void queue_control(Opcode opcode, std::string_view payload);
  std::array<std::uint8_t, 4> new_mask();
  bool fail(std::string_view error);
  void end(bool by_peer);

  const std::uint32_t id_;
  Stage stage_ = Stage::kConnecting;
  bool close_sent_ = false;
  bool close_received_ = false;
  std::uint8_t message_opcode_ = 0;  // of the message that is being received; 0: none is
  Shared& shared_;
  const Target& target_;
  Transport transport_;
  FrameReader reader_;
  MessageCheck check_;
  std::string out_;
  std::size_t out_sent_ = 0;
  std::string text_;     // head of the answer; later, a notice
  std::string control_;  // payload of a control frame
  std::string request_headers_;
  std::string key_;
  Mono started_at_{};
  Mono opened_at_{};
  Ending ending_;
};

}  // namespace sluice::bench
