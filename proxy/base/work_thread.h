// A thread for what may block (the disk), so that no loop does.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice {

// post() is for any thread; work runs in order. The destructor runs what was posted, then joins.
class WorkThread {
 public:
  WorkThread() : thread_([this] { run(); }) {}
  ~WorkThread() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  WorkThread(const WorkThread&) = delete;
  WorkThread& operator=(const WorkThread&) = delete;

  void post(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(work));
    }
    changed_.notify_one();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return ending_ || !queue_.empty(); });
      if (queue_.empty()) {
        return;
      }
      const std::vector<std::function<void()>> batch = std::move(queue_);
      queue_.clear();
      lock.unlock();
      for (const std::function<void()>& work : batch) {
        work();
      }
      lock.lock();
    }
  }

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::vector<std::function<void()>> queue_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace sluice
