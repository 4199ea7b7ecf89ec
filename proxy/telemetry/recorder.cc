#include "proxy/telemetry/recorder.h"

#include <algorithm>
#include <utility>

#include "proxy/base/log.h"
#include "proxy/base/plant.h"

namespace sluice::telemetry {
namespace {

constexpr std::size_t kBatchMax = 1000;

}  // namespace

std::size_t Recorder::turn(Wall now) {
  accounts_.heartbeat(now);
  if (const std::uint64_t dropped = inbox_.take_dropped(); dropped > 0) {
    sink_.count_dropped(dropped);
  }
  for (Record& record : inbox_.take_all()) {
    waiting_.push_back({std::move(record), 0, Item::Kind::kRecord});
  }
  for (const std::uint32_t slot : accounts_.take_ended()) {
    waiting_.push_back({{}, slot, Item::Kind::kEnded});
  }
  if (SLUICE_PLANT(kLostRecord) && waiting_.size() > 1) waiting_.pop_back();
  std::size_t taken = write(waiting_, now);
  bound_waiting();
  constexpr nanoseconds kInterval = seconds(limits::kInterimSeconds);
  // The wall clock may have jumped back.
  const bool due = now >= next_interim_ || now + kInterval < next_interim_;
  if (waiting_.empty() && due) {
    next_interim_ = now + kInterval;
    std::deque<Item> interims;
    for (const std::uint32_t slot : accounts_.moved()) {
      interims.push_back({{}, slot, Item::Kind::kInterim});
    }
    // Those not taken are forgotten: their counts go with the next part.
    taken += write(interims, now);
  }
  return taken;
}

// Writes from the front of `items` and removes what the sink took.
std::size_t Recorder::write(std::deque<Item>& items, Wall now) {
  using PartKind = AccountTable::PartKind;
  absl::Status status;
  std::size_t taken = 0;
  while (status.ok() && !items.empty()) {
    const std::size_t count = std::min(items.size(), kBatchMax);
    std::uint64_t sequence = sink_.next_sequence();
    std::vector<Record> batch;
    batch.reserve(count);
    for (std::size_t i = 0; i < count; ++i, ++sequence) {
      const Item& item = items[i];
      switch (item.kind) {
        case Item::Kind::kRecord:
          batch.push_back(item.record);
          break;
        case Item::Kind::kEnded:
          batch.push_back(accounts_.part(item.slot, sequence, PartKind::kLast, now));
          break;
        case Item::Kind::kInterim:
          batch.push_back(accounts_.part(item.slot, sequence, PartKind::kInterim, now));
          break;
      }
    }
    const RecordSink::Taken result = sink_.append(batch);
    for (std::size_t i = 0; i < count; ++i) {
      if (items[i].kind == Item::Kind::kRecord) {
        continue;
      }
      if (i < result.count) {
        accounts_.settle(items[i].slot);
      } else {
        accounts_.forget_part(items[i].slot);
      }
    }
    items.erase(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(result.count));
    taken += result.count;
    status = result.status;
    if (result.count < count && status.ok()) {
      status = internal_error("the sink took only a part and did not say why");
    }
  }
  set_health(std::move(status));
  return taken;
}

void Recorder::bound_waiting() {
  const std::size_t bound = std::min(limits::kRecordsWaitingMax, accounts_.slots_max() / 2 + 1);
  while (waiting_.size() > bound) {
    sink_.count_dropped(1);
    if (waiting_.front().kind == Item::Kind::kEnded) {
      accounts_.give_up(waiting_.front().slot);
    }
    waiting_.pop_front();
  }
}

void Recorder::set_health(absl::Status status) {
  const std::lock_guard lock(mutex_);
  if (!status.ok() && health_.ok()) {
    log::error("records wait in memory: {}", message_of(status));
  } else if (status.ok() && !health_.ok()) {
    log::info("records are written again");
  }
  health_ = std::move(status);
}

absl::Status Recorder::health() const {
  const std::lock_guard lock(mutex_);
  return health_;
}

}  // namespace sluice::telemetry
