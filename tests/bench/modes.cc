// The five modes.
#include <fmt/core.h>

#include "tests/bench/ledger_report.h"
#include "tests/bench/mode.h"

namespace sluice::bench {
namespace {

nanoseconds age(const MessageId& id, Mono now) {
  return now.time_since_epoch() - nanoseconds(id.sent_ns);
}

// echo, rate and ledger. Either each echo brings the next message (`depth` in flight), or messages
// go out by the clock, on one connection after the other; latency then counts from the time at
// which a message was due.
class Traffic : public Mode {
 public:
  explicit Traffic(Driver& driver) : Mode(driver) {
    if (options().rate > 0) {
      step_ = nanoseconds(static_cast<std::int64_t>(1e9 / options().rate));
    } else if (options().interval > nanoseconds(0)) {
      step_ = std::max(nanoseconds(1), options().interval / options().connections);
    }
  }

  void on_ended(Connection& connection) override {
    if (phase_ == Phase::kRunning && connection.was_open()) {
      sender_gone(connection);
    }
    Mode::on_ended(connection);
  }

 protected:
  void started() override {
    const std::vector<Connection*> open = open_connections();
    senders_ = open.size();
    due_ = driver_.now();
    if (open.empty()) {
      finish();
    }
    if (clocked()) {
      return;
    }
    for (Connection* connection : open) {
      for (std::uint32_t i = 0; i < options().depth && !at_limit(*connection); ++i) {
        send_one(*connection, driver_.now());
      }
      connection->flush();
    }
  }

  void echoed(Connection& connection, const MessageId& id) override {
    tally_.add(age(id, driver_.now()));
    if (phase_ == Phase::kRunning && !clocked() && connection.is_open() && !at_limit(connection)) {
      send_one(connection, driver_.now());
    }
  }

  void tick(Mono now) override {
    while (clocked() && due_ <= now && phase_ == Phase::kRunning) {
      Connection* connection = driver_.at(turn_++ % driver_.size());
      if (connection->is_open() && !at_limit(*connection)) {
        send_one(*connection, due_);
        connection->flush();
      }
      due_ += step_;
    }
  }

  Mono next_tick() const override { return clocked() ? due_ : kNever; }

 private:
  bool clocked() const { return step_ > nanoseconds(0); }
  bool at_limit(const Connection& connection) const {
    return options().messages > 0 && ledgers_[connection.id()].sent() >= options().messages;
  }

  void send_one(Connection& connection, Mono when) {
    send(connection, when);
    if (at_limit(connection) && --senders_ == 0) {
      finish();
    }
  }

  void sender_gone(const Connection& connection) {
    if (!at_limit(connection) && senders_ > 0 && --senders_ == 0) {
      finish();
    }
  }

  nanoseconds step_{0};
  Mono due_ = kNever;
  std::uint64_t turn_ = 0;
  std::size_t senders_ = 0;  // connections that have messages to send yet
};

// Traffic whose closes, losses and notices are reported for each connection, not counted as errors.
class LedgerTraffic : public Traffic {
 public:
  explicit LedgerTraffic(Driver& driver) : Traffic(driver), notices_(options().connections) {}

  void on_notice(Connection& connection, std::string_view text) override {
    Notices& notices = notices_[connection.id()];
    ++notices.count;
    notices.last = text;
  }

  void on_ended(Connection& connection) override {
    if (options().events) {
      print_line(closed_event(connection));
    }
    Traffic::on_ended(connection);
  }

  boost::json::object report() const override {
    boost::json::object out = Mode::report();
    add_ledgers(driver_, ledgers_, notices_, out);
    return out;
  }

 protected:
  bool may_stall() const override { return false; }
  bool strict() const override { return false; }

 private:
  std::vector<Notices> notices_;
};

// Each place opens, echoes once, closes, and begins again.
class Handshakes : public Mode {
 public:
  explicit Handshakes(Driver& driver) : Mode(driver) { begin_running(); }

  void on_open(Connection& connection) override {
    Mode::on_open(connection);
    if (connection.is_open()) {
      send(connection, driver_.now());
    }
  }

  void on_ended(Connection& connection) override {
    if (expected(connection)) {
      tally_.add(driver_.now() - connection.started_at());
    }
    Mode::on_ended(connection);
    if (options().messages > 0 && tally_.total() >= options().messages) {
      finish();
    }
    if (phase_ == Phase::kRunning) {
      driver_.open(connection.id());
    }
  }

 protected:
  void echoed(Connection& connection, const MessageId&) override { connection.queue_close(1000); }
  bool expected(const Connection& connection) const override {
    return connection.ending().error.empty() && !connection.ending().by_peer;
  }
};

// All open, silent until stdin ends, then one echo on each.
class Idle : public Mode {
 public:
  using Mode::Mode;

  void on_stop() override {
    if (phase_ == Phase::kRunning && !last_round_) {
      last_round_ = true;
      send_round();
    } else {
      finish();
    }
  }

 protected:
  void started() override {
    if (options().echo_first) {
      send_round();
    } else {
      announce_silence();
    }
  }

  void echoed(Connection&, const MessageId& id) override {
    tally_.add(age(id, driver_.now()));
    if (--awaited_ == 0 && last_round_) {
      finish();
    } else if (awaited_ == 0) {
      announce_silence();
    }
  }

  bool may_stall() const override { return awaited_ > 0; }

 private:
  void send_round() {
    touch();
    for (Connection* connection : open_connections()) {
      ++awaited_;
      send(*connection, driver_.now());
      connection->flush();
    }
    if (awaited_ == 0) {
      finish();
    }
  }

  void announce_silence() { print_line({{"event", "idle"}, {"ms", to_mono_ms(driver_.now())}}); }

  std::size_t awaited_ = 0;
  bool last_round_ = false;
};

}  // namespace

std::unique_ptr<Mode> make_mode(Driver& driver) {
  const std::string& mode = driver.options().mode;
  if (mode == "handshake") {
    return std::make_unique<Handshakes>(driver);
  }
  if (mode == "idle") {
    return std::make_unique<Idle>(driver);
  }
  if (mode == "ledger") {
    return std::make_unique<LedgerTraffic>(driver);
  }
  return std::make_unique<Traffic>(driver);
}

}  // namespace sluice::bench
