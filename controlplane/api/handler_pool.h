// The threads on which handlers run: a few for calls that end soon, and more, made when needed, for
// those that wait.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "controlplane/model/limits.h"

namespace sluice::controlplane::api {

// Any thread. One pool serves both adapters.
class HandlerPool {
 public:
  struct Options {
    std::size_t threads = limits::kHandlerThreads;
    std::size_t waiting_max = limits::kHandlersWaitingMax;
    std::size_t queue_max = limits::kHandlerQueueMax;
  };
  HandlerPool() : HandlerPool(Options{}) {}
  explicit HandlerPool(Options options);
  // Runs what is queued, then joins. Nothing may be posted any more.
  ~HandlerPool();

  // False: too much is under way; nothing was taken.
  bool post(std::function<void()> work);
  // For calls that may last as long as their deadline.
  bool post_waiting(std::function<void()> work);
  // What was not taken, since the start.
  std::uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  struct Lane {
    std::deque<std::function<void()>> queue;
    std::vector<std::thread> threads;
    std::size_t idle = 0;
  };
  bool post(Lane& lane, std::size_t threads_max, std::size_t queue_max, std::function<void()> work);
  void run(Lane& lane);

  const Options options_;
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  Lane quick_;
  Lane waiting_;
  bool ending_ = false;
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace sluice::controlplane::api
