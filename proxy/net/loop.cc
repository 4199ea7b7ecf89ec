#include "proxy/net/loop.h"

#include <algorithm>
#include <utility>

#include "proxy/base/limits.h"
#include "proxy/net/side.h"

namespace sluice::net {
namespace {

// A record that was begun by an earlier read comes out on top of a full one.
constexpr std::size_t kRecordBytesMax = 18 * 1024;

}  // namespace

Loop::Loop(std::uint64_t seed, ClockMode mode)
    : mode_(mode),
      clock_(mode == ClockMode::kManual ? Clock(kManualMono, kManualWall) : Clock()),
      timers_(clock_.now()),
      rng_(seed),
      read_(Side::kHeadroom + limits::kReadBufferBytes),
      context_(1),
      work_(context_.get_executor()) {}

Loop::~Loop() = default;

void Loop::run() {
  while (!stopped_.load(std::memory_order_acquire)) {
    turn(Poller::kForever);
  }
  stopped_.store(false, std::memory_order_relaxed);
}

nanoseconds Loop::wait_time(nanoseconds wait_max) {
  if (mode_ == ClockMode::kManual) {
    return nanoseconds(0);
  }
  const Mono next = timers_.next();
  return next == kNever ? wait_max : std::min<nanoseconds>(wait_max, next - clock_.now());
}

void Loop::turn(nanoseconds wait_max) {
  nanoseconds wait = wait_time(wait_max);
  sleeping_.store(true);
  {
    // Whoever posts after this sees that the loop sleeps, and wakes it.
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!posted_.empty() || stopped_.load(std::memory_order_relaxed)) {
      wait = nanoseconds(0);
    }
  }
  poller_.wait(wait);
  sleeping_.store(false, std::memory_order_relaxed);
  if (mode_ == ClockMode::kSystem) {
    clock_.tick();  // the turn's one reading, before anyone computes a deadline from it
  }
  poller_.dispatch();
  run_posted();
  context_.poll();
  timers_.advance(clock_.now());
  context_.poll();  // what timers woke must not wait for the next event
}

bool Loop::idle() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return posted_.empty() && !poller_.ready();
}

void Loop::run_posted() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    running_.swap(posted_);
  }
  for (std::function<void()>& work : running_) {
    work();
    work = nullptr;
  }
  running_.clear();
}

void Loop::stop() {
  stopped_.store(true, std::memory_order_release);
  poller_.wake();
}

void Loop::post(std::function<void()> work) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    posted_.push_back(std::move(work));
  }
  if (sleeping_.exchange(false)) {
    poller_.wake();
  }
}

MutableBytes Loop::read_buffer() {
  return MutableBytes(read_).subspan(Side::kHeadroom, limits::kReadBufferBytes);
}

MutableBytes Loop::clear_buffer() {
  if (clear_.empty()) {
    clear_.resize(Side::kHeadroom + limits::kReadBufferBytes + kRecordBytesMax);
  }
  return MutableBytes(clear_).subspan(Side::kHeadroom);
}

}  // namespace sluice::net
