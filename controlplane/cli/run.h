// Runs a coroutine to its end on a tool's own loop.
#pragma once

#include <optional>
#include <utility>

#include "proxy/base/task_group.h"
#include "proxy/net/loop.h"

namespace sluice::controlplane::cli {

namespace detail {
template <class T>
Task<void> keep(Task<T> task, std::optional<T>& result) {
  result.emplace(co_await std::move(task));
}
}  // namespace detail

template <class T>
T run(net::Loop& loop, Task<T> task) {
  std::optional<T> result;
  TaskGroup group(loop.executor());
  group.spawn(detail::keep(std::move(task), result));
  while (group.size() > 0) {
    loop.turn(milliseconds(200));
  }
  return *std::move(result);
}

}  // namespace sluice::controlplane::cli
