// Where coroutines are spawned: a group that can be cancelled and awaited. Nothing is detached.
#pragma once

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <list>

#include "proxy/base/wait.h"

namespace sluice {

// One thread, the executor's. Must be empty when destroyed.
class TaskGroup {
 public:
  explicit TaskGroup(Executor executor) : executor_(executor) {}
  ~TaskGroup() { SLUICE_CHECK(members_.empty()); }
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Runs `task` on the executor. An exception that leaves it is a bug and ends the process.
  void spawn(Task<void> task) {
    auto member = members_.emplace(members_.end());
    asio::co_spawn(
        executor_, run(std::move(task)),
        asio::bind_cancellation_slot(member->slot(), [this, member](std::exception_ptr error) {
          SLUICE_CHECK(error == nullptr);
          members_.erase(member);
          if (members_.empty() && empty_.waiting()) {
            empty_.set(absl::OkStatus());
          }
        }));
  }

  // Cancels every member at its present or next wait. Members may end before this returns.
  void cancel() {
    std::size_t left = members_.size();
    for (auto it = members_.begin(); it != members_.end() && left > 0; --left) {
      auto next = std::next(it);
      it->emit(asio::cancellation_type::terminal);
      it = next;
    }
  }

  // Waits until no member is left.
  Task<absl::Status> join() {
    if (members_.empty()) {
      co_return absl::OkStatus();
    }
    co_return co_await empty_.wait();
  }

  std::size_t size() const { return members_.size(); }

 private:
  static Task<void> run(Task<void> task) {
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await std::move(task);
  }

  Executor executor_;
  std::list<asio::cancellation_signal> members_;
  Wait empty_;
};

}  // namespace sluice
