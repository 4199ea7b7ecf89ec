// Carries records from the workers into the sink: the one consumer of accounts and refusals.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"
#include "proxy/telemetry/account.h"
#include "proxy/telemetry/inbox.h"
#include "proxy/telemetry/sink.h"

namespace sluice::telemetry {

// emit() is for any thread, turn() for one. `accounts` and `sink` outlive it.
class Recorder {
 public:
  Recorder(AccountTable& accounts, RecordSink& sink)
      : accounts_(accounts), sink_(sink), inbox_(limits::kRecordQueueMax) {}

  // A record that is not an account's: a refused handshake. Never blocks; counted if dropped.
  void emit(Record record) { inbox_.push(std::move(record)); }

  // Makes durable what came since the last turn, and every limits::kInterimSeconds the interim
  // parts of live exchanges. What the sink does not take waits for the next turn; beyond
  // limits::kRecordsWaitingMax the oldest is dropped and counted (the counts of live exchanges stay
  // in their slots). Call every 100 ms or so, and once more after the workers have stopped. Returns
  // how many records the sink took.
  std::size_t turn(Wall now);

  // Why records wait; OK if none does.
  absl::Status health() const;

 private:
  // What becomes one record: `record`, or the part of `slot`.
  struct Item {
    Record record;
    std::uint32_t slot = 0;
    enum class Kind : std::uint8_t { kRecord, kEnded, kInterim } kind = Kind::kRecord;
  };

  std::size_t write(std::deque<Item>& items, Wall now);
  void bound_waiting();
  void set_health(absl::Status status);

  AccountTable& accounts_;
  RecordSink& sink_;
  Inbox<Record> inbox_;
  std::deque<Item> waiting_;  // kRecord and kEnded
  Wall next_interim_{};
  mutable std::mutex mutex_;  // of health_
  absl::Status health_;
};

}  // namespace sluice::telemetry
