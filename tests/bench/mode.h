// What all modes of the load generator share: the phases of a run, the ledger of each connection,
// the window in which is measured, and the report.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/driver.h"
#include "tests/bench/ledger.h"
#include "tests/bench/tally.h"

namespace sluice::bench {

class Mode : public Driven {
 public:
  explicit Mode(Driver& driver);

  void on_open(Connection& connection) override;
  void on_message(Connection& connection, const std::optional<MessageId>& id) final;
  void on_notice(Connection& connection, std::string_view text) override;
  void on_ended(Connection& connection) override;
  void on_time(Mono now) final;
  Mono wake() const final;
  void on_stop() override { finish(); }
  bool done() const final { return phase_ == Phase::kDone; }

  // Once done.
  virtual boost::json::object report() const;
  // Whether nothing went wrong that the mode does not merely report.
  bool passed() const { return tally_.errors() == 0; }

 protected:
  // Opening until every place is open or has failed; running until finish(); draining until the
  // last echo is back or has taken too long; closing until every connection has ended.
  enum class Phase { kOpening, kRunning, kDraining, kClosing, kDone };

  // All places are open, but for those that failed. The phase is kRunning.
  virtual void started() {}
  // A message has come back whole.
  virtual void echoed(Connection&, const MessageId&) {}
  // While running: next_tick() has come, or an event.
  virtual void tick(Mono) {}
  virtual Mono next_tick() const { return kNever; }
  // Whether a run without progress is at an end.
  virtual bool may_stall() const { return true; }
  // Whether closes and gaps are errors, not findings.
  virtual bool strict() const { return true; }
  // Whether an end is as it should be.
  virtual bool expected(const Connection& connection) const;
  // Something goes on, although no message has come.
  void touch() { deadline_ = driver_.now() + options().stall; }

  void begin_running();
  // Sends no more; the phases that follow come by themselves.
  void finish();
  // Queues the connection's next message; the caller or its event flushes.
  void send(Connection& connection, Mono when);

  const Options& options() const { return driver_.options(); }
  std::vector<Connection*> open_connections();

  Driver& driver_;
  Phase phase_ = Phase::kOpening;
  Tally tally_;
  std::vector<Ledger> ledgers_;  // by connection

 private:
  void settle();
  void advance(Mono now);
  void close_all(Mono now);
  void abort_all(std::string_view error);

  std::uint32_t opened_ = 0;
  std::uint32_t settled_ = 0;  // opened or failed
  std::uint64_t in_flight_ = 0;
  Mono window_begin_ = kNever;
  Mono window_end_ = kNever;
  Mono deadline_ = kNever;  // of the phases after running, and of opening and running if they stall
  std::uint64_t progress_ = 0;
};

// Prints one JSON line to stdout, at once.
void print_line(const boost::json::object& line);

// Milliseconds of the monotonic clock, as Python's time.monotonic() counts seconds.
double to_mono_ms(Mono time);

std::unique_ptr<Mode> make_mode(Driver& driver);

}  // namespace sluice::bench
