// The two ends of a connection: clients and back ends that count what comes to them.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/task.h"
#include "proxy/net/loop.h"
#include "proxy/net/pipe.h"
#include "proxy/net/side.h"
#include "proxy/websocket/frame.h"
#include "tests/simulation/chance.h"
#include "tests/simulation/checks.h"
#include "tests/simulation/schedule.h"
#include "tests/simulation/talk.h"

namespace sluice::simulation {

// What both ends share: a head, then frames, read as far as they have come.
class Endpoint : public net::SideUser {
 public:
  struct Parts {
    Schedule& schedule;
    Chance& chance;
    Checks& checks;
    Talks& talks;
  };
  enum class Place : std::uint8_t { kClient, kBackend };
  Endpoint(const Parts& parts, Place place, std::unique_ptr<net::Side> side);

  void on_bytes(net::Side& side, MutableBytes bytes) override;
  void on_end(net::Side& side) override;
  void on_error(net::Side& side, absl::Status status) override;
  void on_writable(net::Side& side) override;

  bool gone() const { return side_ == nullptr; }

 protected:
  // Whether frames follow; else it is kept as rest().
  virtual bool on_head(std::string_view head) = 0;
  // The first byte of a data message.
  virtual void on_begin(char first) = 0;
  virtual void on_data(std::size_t bytes) = 0;
  virtual void on_message(std::string_view text) = 0;
  virtual void on_close(std::uint16_t code, std::string_view reason) = 0;
  virtual void on_ping(const std::string& payload) = 0;
  // The stream is over, well or broken; the side is gone.
  virtual void on_over() = 0;

  void send(std::string bytes);
  // What follows a head without frames.
  std::string_view rest() const { return unread_; }
  // Ends our direction when all is sent.
  void end();
  void drop() { side_ = nullptr; }

  Parts parts_;
  Talk* talk_ = nullptr;

 private:
  bool step();
  void frame_done();
  void flush();

  Place place_;
  std::unique_ptr<net::Side> side_;
  std::string unread_;
  std::string waiting_;  // to be sent
  bool end_after_ = false;
  bool head_done_ = false;
  bool frames_ = false;
  bool in_frame_ = false;
  bool begun_ = false;  // of the message under way a byte was seen
  websocket::FrameHead frame_;
  std::uint64_t left_ = 0;  // of the frame's payload
  std::string payload_;
  std::string message_;
};

class Client final : public Endpoint {
 public:
  Client(const Parts& parts, Talk& talk, std::unique_ptr<net::Side> side, std::string token);

  Talk& talk() { return *talk_; }
  // Each does what it can in the present state.
  void burst(int messages);
  // The next piece of a message in several frames, with a ping between them now and then.
  void piece();
  void ping();
  void close();
  void vanish();

 private:
  bool on_head(std::string_view head) override;
  void on_begin(char first) override;
  void on_data(std::size_t bytes) override;
  void on_message(std::string_view text) override;
  void on_close(std::uint16_t code, std::string_view reason) override;
  void on_ping(const std::string& payload) override;
  void on_over() override;

  bool may_send() const;
  websocket::MaskKey mask();
  std::string next_text();

  std::uint64_t number_ = 0;
  std::deque<std::string> pieces_;  // of the message under way, still to be sent
  bool first_piece_ = false;
  bool notice_ = false;  // what comes now is one
};

class Backend final : public Endpoint {
 public:
  // What it does with the handshake.
  enum class Manner : std::uint8_t { kAccept, kRefuse, kDie, kGarbage };
  Backend(const Parts& parts, std::unique_ptr<net::Side> side, Manner manner)
      : Endpoint(parts, Place::kBackend, std::move(side)), manner_(manner) {}

  bool open() const { return open_ && !gone(); }
  void die();
  void close();

 private:
  bool on_head(std::string_view head) override;
  void on_begin(char first) override;
  void on_data(std::size_t bytes) override;
  void on_message(std::string_view text) override;
  void on_close(std::uint16_t code, std::string_view reason) override;
  void on_ping(const std::string& payload) override;
  void on_over() override;

  void answer(const std::string& key);

  Manner manner_;
  int dial_ = 0;  // which of the talk's
  bool open_ = false;
  bool closing_ = false;
};

// Stands in for the network between the proxy and its back ends.
class Backends {
 public:
  explicit Backends(const Endpoint::Parts& parts) : parts_(parts) {}
  void set_loop(net::Loop& loop, std::shared_ptr<const net::PipeRules> rules) {
    loop_ = &loop;
    rules_ = std::move(rules);
  }

  bool reliable = false;  // every dial and handshake succeeds

  // For ProcessServices::connect.
  Task<absl::StatusOr<std::unique_ptr<net::Side>>> connect(std::string host, Mono deadline);

  // What becomes of dials to one of the Upstream's hosts, until it is mended.
  enum class Trouble : std::uint8_t { kRefuses, kHangs, kBusy, kGarbage };
  void trouble(const std::string& host, Trouble trouble);
  void mend(const std::string& host);
  void mend_all();

  std::vector<std::unique_ptr<Backend>>& all() { return all_; }

 private:
  enum class Fate : std::uint8_t { kHang, kRefuse, kBusy, kDie, kGarbage, kAccept };
  Fate fate_of(const std::string& host);

  Endpoint::Parts parts_;
  std::map<std::string, Trouble> troubles_;
  net::Loop* loop_ = nullptr;
  std::shared_ptr<const net::PipeRules> rules_;
  std::vector<std::unique_ptr<Backend>> all_;
};

}  // namespace sluice::simulation
