// The threads on which handlers run: a few for calls that end soon, and more, made when needed, for
// those that wait.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice::controlplane::api {

// Any thread. One pool serves both adapters.
class HandlerPool {
 public:
  struct Options {
    std::size_t threads = 16;  // most of them sleep on the store's disk
    std::size_t waiting_max = 256;
    std::size_t queue_max = 4096;
  };
  HandlerPool() : HandlerPool(Options{}) {}
  explicit HandlerPool(Options options);
  // Runs what is queued, then joins. Nothing may be posted any more.
  ~HandlerPool();

  // False: too much is under way; nothing was taken.
  bool post(std::function<void()> work);
  // For calls that may last as long as their deadline.
  bool post_waiting(std::function<void()> work);

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
};

}  // namespace sluice::controlplane::api
