// epoll, edge-triggered: a descriptor is registered once for its life.
#pragma once

#include <cstdint>
#include <vector>

#include "proxy/base/clock.h"

namespace sluice::net {

// Who is told that a descriptor is ready. `events` are EPOLL* bits.
class PollHandler {
 public:
  virtual ~PollHandler() = default;
  virtual void on_ready(std::uint32_t events) = 0;
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
  // Call before closing `fd` (or destroying the handler): events of this turn that are still to be
  // dispatched to it are forgotten.
  void remove(int fd, PollHandler& handler);

  // Calls `handler` again in this turn's next round or the next turn, without waiting for the
  // kernel: for those that stopped reading before EAGAIN or a short read.
  void ready_again(PollHandler& handler, std::uint32_t events);

  // One epoll_wait of at most `wait_max` (zero if something is ready again) and its handlers.
  void poll(nanoseconds wait_max);

  // Any thread: makes a sleeping poll() return.
  void wake();

 private:
  struct Again {
    PollHandler* handler;
    std::uint32_t events;
  };
  int epoll_ = -1;
  int event_fd_ = -1;
  std::vector<Again> again_;
  std::vector<PollHandler*> dispatching_;
};

}  // namespace sluice::net
