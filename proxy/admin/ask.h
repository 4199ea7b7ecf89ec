// From a callback to a coroutine.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "proxy/base/task.h"
#include "proxy/base/wait.h"

namespace sluice::admin {

// Calls `begin` with an `answer` that may be called at once, later on this thread, or never, also
// after the deadline. None: the deadline passed, or the task was cancelled.
template <class T>
Task<std::optional<T>> ask(TimerWheel& timers, Mono deadline,
                           std::function<void(std::function<void(T)>)> begin) {
  struct State {
    Wait* wait;
    std::optional<T> value;
  };
  Wait wait;
  // Shared with the answer, which may come when this frame is gone.
  auto state = std::make_shared<State>();
  state->wait = &wait;
  Timer timer([](void* w) { static_cast<Wait*>(w)->set(absl::OkStatus()); }, &wait);
  timers.arm(timer, deadline);
  std::function<void(T)> answer = [state](T value) {
    state->value = std::move(value);
    if (state->wait != nullptr) {
      state->wait->set(absl::OkStatus());
    }
  };
  begin(std::move(answer));
  absl::Status status = co_await wait.wait();
  state->wait = nullptr;
  if (!status.ok()) {
    co_return std::nullopt;
  }
  co_return std::move(state->value);
}

}  // namespace sluice::admin
