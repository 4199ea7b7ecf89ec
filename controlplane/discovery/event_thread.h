// A thread with a queue of work and a timer wheel: where discovery's state lives.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "proxy/base/clock.h"
#include "proxy/base/timer_wheel.h"

namespace sluice::controlplane::discovery {

class EventThread {
 public:
  EventThread();
  ~EventThread();  // stop()
  EventThread(const EventThread&) = delete;
  EventThread& operator=(const EventThread&) = delete;

  // Any thread. Work posted after stop() is dropped; false then.
  bool post(std::function<void()> work);
  // Runs what was posted before, then ends the thread. Not from the thread itself.
  void stop();

  // Runs `work` there and waits for its result; `otherwise` if the thread has stopped. Not from the
  // thread itself.
  template <class Result>
  Result run(std::function<Result()> work, Result otherwise) {
    auto promise = std::make_shared<std::promise<Result>>();
    std::future<Result> future = promise->get_future();
    if (!post([promise, work = std::move(work)] { promise->set_value(work()); })) {
      return otherwise;
    }
    return future.get();
  }

  // On the thread.
  Clock& clock() { return clock_; }
  TimerWheel& timers() { return timers_; }

 private:
  void loop();

  Clock clock_;
  TimerWheel timers_{clock_.now()};
  std::mutex mutex_;  // guards queue_ and stopping_
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sluice::controlplane::discovery
