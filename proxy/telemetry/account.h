// The counters of each live exchange, in a slot of a memory-mapped file: kill -9 forgets nothing, and
// the next process closes what was open.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/status.h"
#include "proxy/telemetry/record.h"

namespace sluice::telemetry {

// One exchange's counters. Written by its worker alone with relaxed stores; read by the reporter.
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
  Counts counts() const {
    constexpr auto kRelaxed = std::memory_order_relaxed;
    return {messages_up.load(kRelaxed),  messages_down.load(kRelaxed),
            bytes_up.load(kRelaxed),     bytes_down.load(kRelaxed),
            throttled_up.load(kRelaxed), throttled_down.load(kRelaxed)};
  }
};

// The slots of all workers. open() and close() are for any worker (a mutex, once an exchange);
// interim() and recover() for the control thread.
class AccountTable {
 public:
  // Maps `path` (created if absent), or anonymous memory if it is empty, with room for `slots_max`
  // live exchanges; the file grows by use. A file of another layout is an error that names it.
  static absl::StatusOr<std::unique_ptr<AccountTable>> open_file(const std::string& path,
                                                                 std::size_t slots_max);
  virtual ~AccountTable() = default;

  // A slot with zero counts and these facts; null if none is free (counted).
  virtual Account* open(const Facts& facts) = 0;

  // Ends the exchange: the final record with the counts since the last part, and frees the slot once
  // the record is safe in the sink (the sink calls settle).
  virtual Record close(Account* account, Record ending) = 0;

  // An interim record for each live exchange that moved since its last part.
  virtual std::vector<Record> interim(Wall now) = 0;

  // Records of what an earlier process left open; empties its slots once settled. Once, at start.
  virtual std::vector<Record> recover(Wall now) = 0;

  virtual std::size_t live() const = 0;
};

}  // namespace sluice::telemetry
