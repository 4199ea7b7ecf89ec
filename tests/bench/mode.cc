#include "tests/bench/mode.h"

#include <fmt/core.h>

#include <boost/json/serialize.hpp>
#include <cstdio>

namespace sluice::bench {
namespace {

constexpr nanoseconds kCloseMax = seconds(10);
constexpr std::uint64_t kErrorsMax = 10'000;

std::string describe(const Connection& connection) {
  const Ending& ending = connection.ending();
  return ending.error.empty() ? fmt::format("connection {} was closed with {} {}", connection.id(),
                                            ending.code, ending.reason)
                              : fmt::format("connection {}: {}", connection.id(), ending.error);
}

}  // namespace

void print_line(const boost::json::object& line) {
  fmt::print("{}\n", boost::json::serialize(line));
  std::fflush(stdout);
}

double to_mono_ms(Mono time) { return static_cast<double>(time.time_since_epoch().count()) / 1e6; }

Mode::Mode(Driver& driver)
    : driver_(driver), tally_(driver.options().cpu_of), ledgers_(driver.options().connections) {
  touch();
}

void Mode::on_open(Connection& connection) {
  ++opened_;
  if (phase_ == Phase::kClosing) {
    connection.queue_close(1000);
  }
  settle();
}

void Mode::on_ended(Connection& connection) {
  if (strict() && !expected(connection)) {
    tally_.error(describe(connection));
  }
  if (connection.was_open()) {
    in_flight_ -= ledgers_[connection.id()].outstanding();
  } else {
    settle();
  }
}

bool Mode::expected(const Connection& connection) const {
  return phase_ == Phase::kClosing && connection.ending().error.empty();
}

void Mode::settle() {
  ++settled_;
  if (phase_ == Phase::kOpening && settled_ == options().connections) {
    begin_running();
    print_line({{"event", "open"}, {"connections", opened_}, {"ms", to_mono_ms(driver_.now())}});
    started();
  }
}

void Mode::begin_running() {
  phase_ = Phase::kRunning;
  window_begin_ = driver_.now() + options().warmup;
  if (options().duration > nanoseconds(0)) {
    window_end_ = window_begin_ + options().duration;
  }
  touch();
}

void Mode::on_message(Connection& connection, const std::optional<MessageId>& id) {
  Ledger& ledger = ledgers_[connection.id()];
  if (!id || id->connection != connection.id()) {
    ledger.corrupted();
    tally_.error(
        fmt::format("connection {}: a message came back with other bytes", connection.id()));
    return;
  }
  const std::uint64_t before = ledger.outstanding();
  const std::uint64_t in_order = ledger.in_order();
  ledger.received(id->sequence);
  in_flight_ -= before - ledger.outstanding();
  if (!strict()) {
    return echoed(connection, *id);
  }
  if (ledger.in_order() == in_order || before - ledger.outstanding() > 1) {
    tally_.error(
        fmt::format("connection {}: message {} came out of turn", connection.id(), id->sequence));
  }
  echoed(connection, *id);
}

void Mode::on_notice(Connection& connection, std::string_view text) {
  tally_.error(fmt::format("connection {}: notice: {}", connection.id(), text));
}

void Mode::send(Connection& connection, Mono when) {
  ++in_flight_;
  connection.queue_message({.connection = connection.id(),
                            .sequence = ledgers_[connection.id()].next(),
                            .sent_ns = when.time_since_epoch().count()});
}

std::vector<Connection*> Mode::open_connections() {
  std::vector<Connection*> open;
  for (std::size_t i = 0; i < driver_.size(); ++i) {
    Connection* connection = driver_.at(i);
    if (connection != nullptr && connection->is_open()) {
      open.push_back(connection);
    }
  }
  return open;
}

void Mode::on_time(Mono now) {
  if (phase_ == Phase::kRunning) {
    if (now >= window_begin_) {
      window_begin_ = kNever;
      tally_.begin(now);
    }
    if (now >= window_end_) {
      finish();
    } else {
      tick(now);
    }
  }
  advance(now);
}

void Mode::finish() {
  if (phase_ != Phase::kOpening && phase_ != Phase::kRunning) {
    return;
  }
  if (options().duration > nanoseconds(0)) {
    tally_.end(driver_.now());  // a run without a set time measures its last echoes too
  }
  driver_.stop_opening();
  phase_ = Phase::kDraining;
  deadline_ = driver_.now() + options().linger;
}

void Mode::advance(Mono now) {
  const std::uint64_t progress = settled_ + tally_.total();
  if (progress != progress_ && phase_ <= Phase::kRunning) {
    progress_ = progress;
    touch();
  }
  const bool late = now >= deadline_;
  if (late && (phase_ == Phase::kOpening || (phase_ == Phase::kRunning && may_stall()))) {
    abort_all("stalled: nothing came for too long");
  } else if (tally_.errors() >= kErrorsMax) {
    abort_all("too many errors");
  }
  if (phase_ == Phase::kDraining && (in_flight_ == 0 || late)) {
    close_all(now);
  }
  if (phase_ == Phase::kClosing && (driver_.active() == 0 || now >= deadline_)) {
    abort_all("closed, but the peer does not end");
  }
}

void Mode::close_all(Mono now) {
  tally_.end(now);
  phase_ = Phase::kClosing;
  deadline_ = now + kCloseMax;
  for (Connection* connection : open_connections()) {
    connection->queue_close(1000);
    connection->flush();
  }
}

void Mode::abort_all(std::string_view error) {
  tally_.end(driver_.now());
  phase_ = Phase::kClosing;
  for (std::size_t i = 0; i < driver_.size(); ++i) {
    Connection* connection = driver_.at(i);
    if (connection != nullptr && !connection->ended()) {
      connection->abort(error);
      on_ended(*connection);
    }
  }
  phase_ = Phase::kDone;
}

Mono Mode::wake() const {
  if (phase_ != Phase::kRunning) {
    return deadline_;
  }
  return std::min({window_begin_, window_end_, next_tick(), may_stall() ? deadline_ : kNever});
}

boost::json::object Mode::report() const {
  boost::json::object out{{"mode", options().mode},
                          {"connections", options().connections},
                          {"opened", opened_},
                          {"bytes", options().bytes}};
  tally_.report(out);
  return out;
}

}  // namespace sluice::bench
