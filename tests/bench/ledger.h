// What became of one connection's numbered messages.
#pragma once

#include <cstdint>
#include <set>

namespace sluice::bench {

class Ledger {
 public:
  // The number of the next message to send.
  std::uint64_t next() { return sent_++; }

  // Message `sequence` came back whole.
  void received(std::uint64_t sequence);
  // A message came back with wrong bytes.
  void corrupted() { ++corrupt_; }

  std::uint64_t sent() const { return sent_; }
  // Those that came back in the order in which they were sent.
  std::uint64_t in_order() const { return in_order_; }
  // Those that came back after one that was sent later.
  std::uint64_t reordered() const { return reordered_; }
  // Those that came back again.
  std::uint64_t doubled() const { return doubled_; }
  std::uint64_t corrupt() const { return corrupt_; }
  // Those that did not come back although a later one did.
  std::uint64_t lost() const { return missing_.size(); }
  // Those sent after the last one that came back.
  std::uint64_t outstanding() const { return sent_ - expected_; }

 private:
  std::uint64_t sent_ = 0;
  std::uint64_t expected_ = 0;
  std::uint64_t in_order_ = 0;
  std::uint64_t reordered_ = 0;
  std::uint64_t doubled_ = 0;
  std::uint64_t corrupt_ = 0;
  std::set<std::uint64_t> missing_;
};

}  // namespace sluice::bench
