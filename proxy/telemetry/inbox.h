// A bounded queue of many producers and one consumer, without a lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::telemetry {

// push() is for any thread and never waits; take_all() for one thread at a time.
template <class T>
class Inbox {
 public:
  explicit Inbox(std::size_t items_max) : items_max_(items_max) {}
  ~Inbox() { take_all(); }
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  // False (and counted) if it is full.
  bool push(T item) {
    if (size_.fetch_add(1, std::memory_order_relaxed) >= items_max_) {
      size_.fetch_sub(1, std::memory_order_relaxed);
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    auto* node = new Node{std::move(item), head_.load(std::memory_order_relaxed)};
    while (!head_.compare_exchange_weak(node->next, node, std::memory_order_release,
                                        std::memory_order_relaxed)) {
    }
    return true;
  }

  // In the order of the pushes.
  std::vector<T> take_all() {
    // The list is last-in first-out; it is turned around here, where time is not short.
    Node* last_first = head_.exchange(nullptr, std::memory_order_acquire);
    Node* first = nullptr;
    std::size_t count = 0;
    while (last_first != nullptr) {
      Node* next = last_first->next;
      last_first->next = first;
      first = last_first;
      last_first = next;
      ++count;
    }
    std::vector<T> items;
    items.reserve(count);
    while (first != nullptr) {
      const std::unique_ptr<Node> node(first);
      first = node->next;
      items.push_back(std::move(node->item));
    }
    size_.fetch_sub(count, std::memory_order_relaxed);
    return items;
  }

  // Items refused since the last call.
  std::uint64_t take_dropped() { return dropped_.exchange(0, std::memory_order_relaxed); }
  std::size_t size() const { return size_.load(std::memory_order_relaxed); }

 private:
  struct Node {
    T item;
    Node* next;
  };

  const std::size_t items_max_;
  std::atomic<Node*> head_{nullptr};
  std::atomic<std::size_t> size_{0};
  std::atomic<std::uint64_t> dropped_{0};
};

}  // namespace sluice::telemetry
