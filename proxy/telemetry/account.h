// The counters of each live exchange, in a slot of a memory-mapped file: kill -9 forgets nothing,
// and the next process closes what was open.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "proxy/base/status.h"
#include "proxy/telemetry/record.h"

namespace sluice::telemetry {

// One exchange's counters. Written by its worker alone with relaxed stores; read by the recorder.
// The first cache line is all that a message touches.
struct alignas(64) Account {
  std::atomic<std::uint64_t> messages_up{0};
  std::atomic<std::uint64_t> messages_down{0};
  std::atomic<std::uint64_t> bytes_up{0};
  std::atomic<std::uint64_t> bytes_down{0};
  std::atomic<std::uint64_t> throttled_up{0};
  std::atomic<std::uint64_t> throttled_down{0};
  std::atomic<std::int64_t> last_data_ms{0};  // wall time of the last data message

  // Adds without a locked instruction: the worker is the only writer.
  static void add(std::atomic<std::uint64_t>& counter, std::uint64_t n) {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void clear() {
    for (std::atomic<std::uint64_t>* counter :
         {&messages_up, &messages_down, &bytes_up, &bytes_down, &throttled_up, &throttled_down}) {
      counter->store(0, std::memory_order_relaxed);
    }
    last_data_ms.store(0, std::memory_order_relaxed);
  }
  Counts counts() const {
    constexpr auto kRelaxed = std::memory_order_relaxed;
    return {messages_up.load(kRelaxed),  messages_down.load(kRelaxed),
            bytes_up.load(kRelaxed),     bytes_down.load(kRelaxed),
            throttled_up.load(kRelaxed), throttled_down.load(kRelaxed)};
  }
};

// The slots of all workers. The accounts lie close together, since messages touch them; the facts
// go into the file and not into memory, since nobody looks at them until a record is made. open()
// and close() are for any thread; the rest is for the recorder, one thread. Each part of an account
// is made in three steps, so that a crash between any two of them neither loses nor doubles a
// count:
//   1. part() writes into the slot: "the part with sequence S covers the counts up to C";
//   2. the sink makes the record S durable;
//   3. settle() writes "the counts up to C are covered" and takes the note of 1 back.
// A successor that finds the note compares S with the sink's last sequence: S is there, so it does
// 3; it is not, so it forgets the note, and the next part carries the counts. Sequences are never
// used twice. The slots and the sink's writes both survive the process in the order they were made.
class AccountTable {
 public:
  // Maps `path` (created if absent, locked against a second process), or anonymous memory if it is
  // empty, with room for `slots_max` live exchanges. A file of another layout, or one in use, is an
  // error that names it. `last_sequence`: of the sink, for the notes of an earlier process.
  static absl::StatusOr<std::unique_ptr<AccountTable>> open_file(const std::string& path,
                                                                 std::size_t slots_max,
                                                                 std::uint64_t last_sequence);
  ~AccountTable();
  AccountTable(const AccountTable&) = delete;
  AccountTable& operator=(const AccountTable&) = delete;

  // A slot with zero counts and these facts; null if none is free (counted).
  Account* open(const Facts& facts);

  // Ends the exchange. Never blocks. The account must not be touched afterwards.
  void close(Account* account, const Ending& ending, Wall now);

  // ---- for the recorder

  // Slots of exchanges that ended since the last call; at first those that an earlier process left.
  std::vector<std::uint32_t> take_ended();
  // Slots of live exchanges that moved since their last part.
  std::vector<std::uint32_t> moved() const;
  enum class PartKind : std::uint8_t { kInterim, kLast };
  // Step 1: the slot's record with what came since its last part: INTERIM; or FINAL, for one that
  // an earlier process left alive RECOVERED.
  Record part(std::uint32_t slot, std::uint64_t sequence, PartKind kind, Wall now);
  // Step 3; frees the slot of an ended exchange.
  void settle(std::uint32_t slot);
  // Instead of 3: the sink did not take it.
  void forget_part(std::uint32_t slot);
  // The record of an ended exchange is given up: frees its slot.
  void give_up(std::uint32_t slot);
  // The process lives at this time: when a successor says that its exchanges ended.
  void heartbeat(Wall now);

  // Slots in use: live, and ended but not settled yet.
  std::size_t live() const { return live_.load(std::memory_order_relaxed); }
  std::size_t slots_max() const { return slots_max_; }
  // Times that open() found no slot.
  std::uint64_t exhausted() const { return exhausted_.load(std::memory_order_relaxed); }

 private:
  struct Mapping;
  struct Header;
  struct Group;
  struct Slot;

  AccountTable(std::unique_ptr<Mapping> mapping, std::size_t slots_max);
  void take_over(std::uint64_t last_sequence);
  Slot slot(std::uint32_t index) const;
  bool write_facts(std::uint32_t index, const Facts& facts);
  Facts read_facts(std::uint32_t index) const;
  void free_slot(std::uint32_t index);

  std::unique_ptr<Mapping> mapping_;
  Header* header_;
  Group* groups_;
  std::size_t slots_max_;
  std::mutex mutex_;                 // of free_ and high_water_'s growth
  std::vector<std::uint32_t> free_;  // below high_water_
  std::atomic<std::uint32_t> high_water_{0};
  std::vector<std::uint32_t> ended_next_;  // links of the list that ended_ heads
  std::atomic<std::uint32_t> ended_;
  std::vector<std::uint32_t> left_behind_;  // by an earlier process
  std::int64_t left_at_ms_ = 0;             // its last heartbeat
  std::atomic<std::size_t> live_{0};
  std::atomic<std::uint64_t> exhausted_{0};
};

}  // namespace sluice::telemetry
