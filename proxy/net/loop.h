// One thread's loop: a Poller, an io_context for coroutines and posted work, a clock and a timer
// wheel. A turn is: one epoll_wait, the ready handlers, posted work, io_context.poll(), timers.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <mutex>
#include <vector>

#include "proxy/base/bytes.h"
#include "proxy/base/clock.h"
#include "proxy/base/owner.h"
#include "proxy/base/rng.h"
#include "proxy/base/slab.h"
#include "proxy/base/task.h"
#include "proxy/base/timer_wheel.h"
#include "proxy/net/poller.h"
#include "proxy/net/splice_pipe.h"

namespace sluice::net {

// All members are for the loop's own thread unless they say otherwise.
class Loop {
 public:
  enum class ClockMode { kSystem, kManual };
  // Where a manual clock begins.
  static constexpr Mono kManualMono{seconds(1000)};
  static constexpr Wall kManualWall{seconds(1'800'000'000)};

  // `seed`: of the loop's source of chance. kManual: only advance() moves the clock, and a turn
  // never waits (the simulation).
  explicit Loop(std::uint64_t seed, ClockMode mode = ClockMode::kSystem);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Runs turns until stop().
  void run();
  // One turn that waits at most `wait_max`. For tests and tools.
  void turn(nanoseconds wait_max);
  // kManual only: moves the clock; timers fire in the next turn.
  void advance(Mono mono, Wall wall) { clock_.tick(mono, wall); }
  // Between turns: the next one would find nothing to do but what the kernel has.
  bool idle();
  // Any thread. run() returns after the turn; a run() that has not begun returns at once.
  void stop();

  // Any thread: runs `work` on the loop's thread, in order. Wakes the loop if it sleeps. Work that
  // is left when the loop is destroyed is destroyed with it.
  void post(std::function<void()> work);

  // For coroutines and for work of the loop's own thread; asio::post from another thread would not
  // wake the loop, post() does.
  Executor executor() { return context_.get_executor(); }
  Poller& poller() { return poller_; }
  Clock& clock() { return clock_; }
  TimerWheel& timers() { return timers_; }
  Rng& rng() { return rng_; }

  // The shared buffers of the loop's sides; nothing in them outlives a callback.
  // What a socket is read into, limits::kReadBufferBytes with Side::kHeadroom bytes in front.
  MutableBytes read_buffer();
  // What TLS makes of it: room for a full read and a record begun before, and the same headroom.
  MutableBytes clear_buffer();
  // What TLS is about to send.
  std::vector<std::uint8_t>& cipher_buffer() { return cipher_; }

  // What bytes pass that are spliced; empty between two callbacks.
  SplicePipe& splice_pipe() { return splice_pipe_; }

  // Where the loop's TCP sides lie.
  Slab& tcp_sides() { return tcp_sides_; }

 private:
  void run_posted();
  nanoseconds wait_time(nanoseconds wait_max);

  ClockMode mode_;
  Poller poller_;
  Clock clock_;
  TimerWheel timers_;
  Rng rng_;
  Slab tcp_sides_;
  SplicePipe splice_pipe_;
  std::vector<std::uint8_t> read_;
  std::vector<std::uint8_t> clear_;
  std::vector<std::uint8_t> cipher_;
  std::mutex mutex_;  // guards posted_
  std::vector<std::function<void()>> posted_;
  std::vector<std::function<void()>> running_;
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> stopped_{false};
  // Last, so that it dies first: frames that are left refer to all of the above.
  asio::io_context context_;
  asio::executor_work_guard<Executor> work_;
};

}  // namespace sluice::net
