// epoll, edge-triggered: a descriptor is registered once for its life.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <vector>

#include "proxy/base/clock.h"

namespace sluice::net {

// Who is told that a descriptor is ready. `events` are EPOLL* bits; 0: from ready_again alone.
class PollHandler {
 public:
  virtual ~PollHandler() = default;
  virtual void on_ready(std::uint32_t events) = 0;
  // on_ready comes soon; this object is in the cache. May fetch what it will need.
  virtual void prefetch() const {}
};

// One thread, except wake().
class Poller {
 public:
  Poller();
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  // Registers for IN, OUT and RDHUP, edge-triggered. False: the kernel refused (errno stands).
  bool add(int fd, PollHandler& handler);
  // Call before `fd` is closed, which is what ends its registration, and before the handler is
  // destroyed: its events that are still to be dispatched are forgotten.
  void remove(PollHandler& handler);

  // Calls `handler` with `events` in the next dispatch(), for which wait() then does not wait: for
  // those that stopped reading before EAGAIN or a short read. Also for handlers without a
  // descriptor.
  void ready_again(PollHandler& handler, std::uint32_t events);

  // Something is ready again.
  bool ready() const { return !again_.empty(); }

  // One epoll_wait of at most `wait_max` (rounded up to milliseconds; zero if something is ready
  // again; kForever).
  void wait(nanoseconds wait_max);
  static constexpr nanoseconds kForever = nanoseconds::max();

  // Calls the handlers of what wait() found.
  void dispatch();

  // Any thread: makes a sleeping wait() return.
  void wake();

 private:
  struct Again {
    PollHandler* handler;
    std::uint32_t events;
  };
  int epoll_ = -1;
  int event_fd_ = -1;
  std::array<epoll_event, 256> events_;  // being dispatched
  std::size_t events_count_ = 0;
  std::vector<Again> again_;
  std::vector<Again> dispatching_;  // what again_ was when this dispatch() began
};

}  // namespace sluice::net
