#include "tests/bench/driver.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <ctime>

namespace sluice::bench {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;
constexpr int kEventsPerTurn = 512;
constexpr nanoseconds kTurnMax = seconds(1);

volatile std::sig_atomic_t g_stop = 0;

// Signals come only while the loop waits, so that none is seen late.
void catch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { g_stop = 1; };
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int signal : {SIGTERM, SIGINT}) {
    sigaction(signal, &action, nullptr);
    sigaddset(&blocked, signal);
  }
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
}

}  // namespace

Driver::Driver(const Options& options)
    : options_(options),
      pattern_(options.bytes),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      buffer_(kBufferBytes),
      connections_(options.connections),
      now_(system_mono()) {}

absl::Status Driver::prepare() {
  raise_file_limit();
  SLUICE_ASSIGN_OR_RETURN(tls_, make_tls_context(options_.ca_file));
  return absl::OkStatus();
}

void Driver::run(Driven& mode, bool stdin_stops) {
  shared_ = std::make_unique<Shared>(
      Shared{pattern_, mode, *tls_, MutableBytes(buffer_), Rng(system_seed()), now_});
  catch_signals();
  if (stdin_stops) {
    watch_stdin(mode);
  }
  while (!mode.done()) {
    open_more();
    report_failed(mode);
    turn(mode);
  }
}

void Driver::watch_stdin(Driven& mode) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = this;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0) {
    mode.on_stop();  // a file or /dev/null: it has nothing to wait for
  }
}

void Driver::turn(Driven& mode) {
  const nanoseconds left = std::clamp(mode.wake() - system_mono(), nanoseconds(0), kTurnMax);
  const timespec timeout{left / seconds(1), (left % seconds(1)).count()};
  std::array<epoll_event, kEventsPerTurn> events;
  sigset_t none;
  sigemptyset(&none);
  const int count = epoll_pwait2(epoll_.get(), events.data(), kEventsPerTurn, &timeout, &none);
  for (int i = 0; i < count; ++i) {
    look_at_clock();
    if (events[i].data.ptr != this) {
      handle(*static_cast<Connection*>(events[i].data.ptr), events[i].events, mode);
      continue;
    }
    std::array<char, 4096> ignored;
    if (read(STDIN_FILENO, ignored.data(), ignored.size()) <= 0) {
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, STDIN_FILENO, nullptr);
      mode.on_stop();
    }
  }
  look_at_clock();
  take_signals(mode);
  mode.on_time(now_);
}

void Driver::take_signals(Driven& mode) {
  if (g_stop != 0) {
    g_stop = 0;
    mode.on_stop();
  }
}

void Driver::look_at_clock() {
  now_ = system_mono();
  shared_->now = now_;
}

// A socket has one event in a turn, so the mode may replace the connection in on_ended().
void Driver::handle(Connection& connection, std::uint32_t events, Driven& mode) {
  const bool was_opening = connection.opening();
  connection.handle(events);
  if (was_opening && !connection.opening()) {
    --opening_;
  }
  if (connection.ended()) {
    --active_;
    mode.on_ended(connection);
  }
}

void Driver::open_more() {
  while (opening_ < options_.opening_max && opened_ < connections_.size()) {
    look_at_clock();
    open(opened_++);
  }
}

void Driver::open(std::uint32_t id) {
  const Target& target = options_.targets[id % options_.targets.size()];
  connections_[id] = std::make_unique<Connection>(id, target, request_headers(id), *shared_);
  const absl::Status status = connections_[id]->start(epoll_);
  if (status.ok()) {
    ++opening_;
    ++active_;
  } else {
    connections_[id]->abort(message_of(status));
    failed_.push_back(id);
  }
}

// Later than open(), which a mode may call from on_ended().
void Driver::report_failed(Driven& mode) {
  for (const std::uint32_t id : std::exchange(failed_, {})) {
    mode.on_ended(*connections_[id]);
  }
}

std::string Driver::request_headers(std::uint32_t id) const {
  std::string lines;
  if (!options_.tokens.empty()) {
    const std::string& token = options_.tokens[id % options_.tokens.size()];
    if (!token.empty()) {
      lines += fmt::format("Authorization: Bearer {}\r\n", token);
    }
  }
  for (const std::string& header : options_.headers) {
    lines += header + "\r\n";
  }
  return lines;
}

}  // namespace sluice::bench
