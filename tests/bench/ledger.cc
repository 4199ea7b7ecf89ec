#include "tests/bench/ledger.h"

namespace sluice::bench {

void Ledger::received(std::uint64_t sequence) {
  if (sequence >= sent_) {
    ++corrupt_;
    return;
  }
  if (sequence < expected_) {
    ++(missing_.erase(sequence) == 1 ? reordered_ : doubled_);
    return;
  }
  for (; expected_ < sequence; ++expected_) {
    missing_.insert(missing_.end(), expected_);
  }
  ++expected_;
  ++in_order_;
}

}  // namespace sluice::bench
