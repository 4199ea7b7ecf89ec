#include "controlplane/api/handler_pool.h"

#include <utility>

namespace sluice::controlplane::api {

HandlerPool::HandlerPool(Options options) : options_(options) {}

HandlerPool::~HandlerPool() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  for (Lane* lane : {&quick_, &waiting_}) {
    for (std::thread& thread : lane->threads) {
      thread.join();
    }
  }
}

bool HandlerPool::post(std::function<void()> work) {
  return post(quick_, options_.threads, options_.queue_max, std::move(work));
}

bool HandlerPool::post_waiting(std::function<void()> work) {
  // None is queued behind one that may wait for long.
  return post(waiting_, options_.waiting_max, 0, std::move(work));
}

bool HandlerPool::post(Lane& lane, std::size_t threads_max, std::size_t queue_max,
                       std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    const bool free = lane.idle > lane.queue.size();
    if (!free && lane.threads.size() >= threads_max && lane.queue.size() >= queue_max) {
      refused_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    lane.queue.push_back(std::move(work));
    if (!free && lane.threads.size() < threads_max) {
      lane.threads.emplace_back([this, &lane] { run(lane); });
    }
  }
  wake_.notify_all();  // both lanes' threads wait on it
  return true;
}

void HandlerPool::run(Lane& lane) {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++lane.idle;
    wake_.wait(lock, [&] { return ending_ || !lane.queue.empty(); });
    --lane.idle;
    if (lane.queue.empty()) {
      return;
    }
    std::function<void()> work = std::move(lane.queue.front());
    lane.queue.pop_front();
    lock.unlock();
    work();
    work = nullptr;
    lock.lock();
  }
}

}  // namespace sluice::controlplane::api
