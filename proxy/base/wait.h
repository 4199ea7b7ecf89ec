// The leaf wait of every coroutine: sleeps until someone on the same thread wakes it.
#pragma once

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/this_coro.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "proxy/base/check.h"
#include "proxy/base/status.h"
#include "proxy/base/task.h"
#include "proxy/base/timer_wheel.h"

namespace sluice {

// One coroutine at a time waits; set() wakes it, or is kept for the next wait. Cancelling the
// coroutine (terminal) ends the wait with CANCELLED, and a cancelled coroutine starts no further
// wait. One thread; must outlive the wait.
class Wait {
 public:
  Wait() = default;
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

  // The status given to set(), or CANCELLED.
  Task<absl::Status> wait() {
    const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) {
      co_return absl::CancelledError("cancelled");
    }
    if (value_) {
      absl::Status value = *std::move(value_);
      value_.reset();
      co_return value;
    }
    Initiate initiate{this};
    co_return co_await asio::async_initiate<const asio::use_awaitable_t<Executor>,
                                            void(absl::Status)>(initiate, use_task);
  }

  // Wakes the waiter (from the loop, not from within this call unless called inside the loop's
  // io_context), or is kept until someone waits. A second value before that replaces the first.
  void set(absl::Status value) {
    if (waiter_ == nullptr) {
      value_ = std::move(value);
      return;
    }
    std::unique_ptr<Waiter> waiter = std::move(waiter_);
    waiter->complete(std::move(value));
  }

  bool waiting() const { return waiter_ != nullptr; }

 private:
  struct Waiter {
    virtual ~Waiter() = default;
    virtual void complete(absl::Status value) = 0;
  };

  template <class Handler>
  struct HandlerWaiter final : Waiter {
    explicit HandlerWaiter(Handler h) : handler(std::move(h)) {}
    void complete(absl::Status value) override {
      auto slot = asio::get_associated_cancellation_slot(handler);
      if (slot.is_connected()) {
        slot.clear();
      }
      auto executor = asio::get_associated_executor(handler);
      asio::dispatch(executor, [h = std::move(handler), v = std::move(value)]() mutable {
        std::move(h)(std::move(v));
      });
    }
    Handler handler;
  };

  struct Initiate {
    Wait* self;
    template <class Handler>
    void operator()(Handler handler) const {
      SLUICE_CHECK(self->waiter_ == nullptr);
      auto slot = asio::get_associated_cancellation_slot(handler);
      if (slot.is_connected()) {
        slot.assign([wait = self](asio::cancellation_type) {
          wait->set(absl::CancelledError("cancelled"));
        });
      }
      self->waiter_ = std::make_unique<HandlerWaiter<Handler>>(std::move(handler));
    }
  };

  std::unique_ptr<Waiter> waiter_;
  std::optional<absl::Status> value_;
};

// Sleeps until `deadline`. OK, or CANCELLED.
inline Task<absl::Status> sleep_until(TimerWheel& timers, Mono deadline) {
  Wait wait;
  Timer timer([](void* w) { static_cast<Wait*>(w)->set(absl::OkStatus()); }, &wait);
  timers.arm(timer, deadline);
  co_return co_await wait.wait();
}

}  // namespace sluice
