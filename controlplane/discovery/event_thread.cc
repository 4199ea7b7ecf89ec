#include "controlplane/discovery/event_thread.h"

#include <chrono>
#include <utility>

namespace sluice::controlplane::discovery {

EventThread::EventThread() : thread_([this] { loop(); }) {}

EventThread::~EventThread() { stop(); }

bool EventThread::post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) {
      return false;
    }
    queue_.push_back(std::move(work));
  }
  wake_.notify_one();
  return true;
}

void EventThread::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void EventThread::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto ready = [this] { return stopping_ || !queue_.empty(); };
    const Mono next = timers_.next();
    if (next == kNever) {
      wake_.wait(lock, ready);
    } else {
      const nanoseconds left = next - system_mono();
      wake_.wait_for(lock, std::max(left, nanoseconds(milliseconds(1))), ready);
    }
    std::deque<std::function<void()>> batch;
    batch.swap(queue_);
    const bool last = stopping_;
    lock.unlock();
    clock_.tick();
    for (const std::function<void()>& work : batch) {
      work();
    }
    batch.clear();
    timers_.advance(clock_.now());
    lock.lock();
    if (last && queue_.empty()) {
      return;
    }
  }
}

}  // namespace sluice::controlplane::discovery
