// What this folder's tests, and those of folders that use sides, share. Not part of any program.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "proxy/base/task_group.h"
#include "proxy/net/connect.h"
#include "proxy/net/loop.h"
#include "proxy/net/side.h"

namespace sluice::net::testing {

// Turns until `done()`; false after `patience` of real time.
template <class Done>
bool run_until(Loop& loop, Done done, nanoseconds patience = seconds(20)) {
  const Mono deadline = system_mono() + patience;
  while (!done()) {
    if (system_mono() >= deadline) {
      return false;
    }
    loop.turn(milliseconds(10));
  }
  return true;
}

template <class T>
Task<void> keep_result(Task<T> task, std::optional<T>& result) {
  result.emplace(co_await std::move(task));
}

// Runs the loop until the task ends, and gives its result.
template <class T>
T run_task(Loop& loop, Task<T> task) {
  TaskGroup group(loop.executor());
  std::optional<T> result;
  group.spawn(keep_result<T>(std::move(task), result));
  EXPECT_TRUE(run_until(loop, [&] { return group.size() == 0; })) << "the task did not end";
  return *std::move(result);
}

inline Mono soon(Loop& loop) { return loop.clock().now() + seconds(20); }

// Notes what happens to a side; can be told to echo, to pause or to destroy it.
class Witness final : public SideUser {
 public:
  explicit Witness(std::unique_ptr<Side> s) : side(std::move(s)) {
    side->set_user(this);
    side->resume();
  }

  void on_bytes(Side& s, MutableBytes bytes) override {
    EXPECT_FALSE(ended) << "bytes after the end";
    EXPECT_FALSE(paused) << "bytes while paused";
    largest = std::max(largest, bytes.size());
    ++calls;
    total += bytes.size();
    if (keep) {
      received.append(as_text(bytes));
    }
    if (pause_each) {
      paused = true;
      s.pause();
    }
    if (destroy) {
      side.reset();
    }
  }
  void on_end(Side&) override {
    EXPECT_FALSE(ended) << "told of the end twice";
    ended = true;
    if (destroy) {
      side.reset();
    }
  }
  void on_error(Side&, absl::Status status) override {
    EXPECT_TRUE(error.ok()) << "told of the error twice";
    error = std::move(status);
    if (destroy) {
      side.reset();
    }
  }
  void on_writable(Side& s) override {
    ++writable;
    if (destroy) {
      side.reset();
      return;
    }
    flush(s);
  }

  // Writes all of it, now or when it can be taken.
  void send(std::string bytes) {
    to_send += bytes;
    flush(*side);
  }
  void flush(Side& s) {
    while (!to_send.empty()) {
      const std::size_t taken = s.write(as_bytes(to_send));
      if (taken < to_send.size()) {
        blocked = true;
        to_send.erase(0, taken);
        return;
      }
      to_send.clear();
    }
    if (end_after) {
      end_after = false;
      s.end();
    }
  }
  void resume() {
    paused = false;
    side->resume();
  }

  std::unique_ptr<Side> side;
  std::string received;
  std::string to_send;
  std::size_t total = 0;
  std::size_t largest = 0;
  int calls = 0;
  int writable = 0;
  bool keep = true;
  bool ended = false;
  bool paused = false;
  bool blocked = false;
  bool pause_each = false;
  bool destroy = false;
  bool end_after = false;  // once all is sent
  absl::Status error;
};

// Bytes that show a lost, doubled or moved one.
inline std::string pattern(std::size_t size, std::uint64_t seed = 1) {
  Rng rng(seed);
  std::string text;
  text.reserve(size + 8);
  while (text.size() < size) {
    const std::uint64_t word = rng.next();
    text.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  text.resize(size);
  return text;
}

// Two joined TCP sides on one loop.
struct TcpPair {
  std::unique_ptr<Side> client;
  std::unique_ptr<Side> server;
};

inline TcpPair make_tcp_pair(Loop& loop) {
  TcpPair pair;
  auto acceptor =
      Acceptor::listen(loop, ListenOptions{"127.0.0.1", 0, false},
                       [&pair](std::unique_ptr<Side> side) { pair.server = std::move(side); });
  EXPECT_TRUE(acceptor.ok()) << acceptor.status();
  Resolver resolver;
  ConnectTarget target{"127.0.0.1", (*acceptor)->port(), nullptr, ""};
  auto client = run_task(loop, connect(loop, resolver, target, soon(loop)));
  EXPECT_TRUE(client.ok()) << client.status();
  pair.client = *std::move(client);
  EXPECT_TRUE(run_until(loop, [&] { return pair.server != nullptr; }));
  return pair;
}

}  // namespace sluice::net::testing
