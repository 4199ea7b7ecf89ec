// Ways between threads and planes: everything arrives in order, and late by chance.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "tests/simulation/chance.h"
#include "tests/simulation/schedule.h"

namespace sluice::simulation {

// Work posted from one thread to another: never lost.
class Mailbox {
 public:
  Mailbox(Schedule& schedule, Chance& chance) : schedule_(schedule), chance_(chance) {}

  void post(std::function<void()> work) {
    due_ = std::max(due_, schedule_.now() + chance_.lateness());
    ++waiting_;
    schedule_.at(due_, [this, work = std::move(work)] {
      --waiting_;
      work();
    });
  }
  bool empty() const { return waiting_ == 0; }

 private:
  Schedule& schedule_;
  Chance& chance_;
  Mono due_{};
  int waiting_ = 0;
};

// One direction of a stream. What is under way when it is cut is lost.
template <class T>
class Channel {
 public:
  // `flow` kOne: the receiver calls read() for each message that it wants, the first included.
  enum class Flow : std::uint8_t { kAll, kOne };
  Channel(Schedule& schedule, Chance& chance, Flow flow, std::function<void(T)> deliver)
      : schedule_(schedule), chance_(chance), flow_(flow), deliver_(std::move(deliver)) {}

  void send(T message) {
    due_ = std::max(due_, schedule_.now() + chance_.lateness());
    ++waiting_;
    const auto shared = std::make_shared<T>(std::move(message));
    schedule_.at(due_, [this, life = life_, shared] {
      if (life == life_) {
        arrived_.push_back(std::move(*shared));
        deliver();
      }
    });
  }

  void read() {
    ++wanted_;
    // Later, as a carrier would: never from within what the message caused.
    schedule_.after(nanoseconds(0), [this, life = life_] {
      if (life == life_) {
        deliver();
      }
    });
  }

  void cut() {
    ++life_;
    arrived_.clear();
    waiting_ = 0;
    wanted_ = 0;
  }
  bool empty() const { return waiting_ == 0; }

 private:
  void deliver() {
    while (!arrived_.empty() && (flow_ == Flow::kAll || wanted_ > 0)) {
      T message = std::move(arrived_.front());
      arrived_.pop_front();
      --waiting_;
      wanted_ -= flow_ == Flow::kOne ? 1 : 0;
      deliver_(std::move(message));
    }
  }

  Schedule& schedule_;
  Chance& chance_;
  Flow flow_;
  std::function<void(T)> deliver_;
  std::deque<T> arrived_;
  std::uint64_t life_ = 0;
  Mono due_{};
  int waiting_ = 0;
  int wanted_ = 0;
};

}  // namespace sluice::simulation
