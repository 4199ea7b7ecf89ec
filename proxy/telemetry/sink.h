// Where records become durable: the spool on disk for the control plane, or JSON lines.
#pragma once

#include <cstdint>
#include <vector>

#include "proxy/base/status.h"
#include "proxy/telemetry/record.h"

namespace sluice::telemetry {

// A record in the sink. Sequences rise within an epoch, perhaps with gaps, and are never used
// twice.
struct NumberedRecord {
  std::uint64_t epoch = 0;
  std::uint64_t sequence = 0;
  std::uint64_t dropped_before = 0;  // records given up since the numbered record before it
  Record record;
};

// Any thread.
class RecordSink {
 public:
  virtual ~RecordSink() = default;

  virtual std::uint64_t epoch() const = 0;
  // The highest sequence that is durable, an earlier process's included; 0: none ever was.
  virtual std::uint64_t last_sequence() const = 0;

  struct Taken {
    std::size_t count = 0;  // of the front of the batch; the others are not there at all
    absl::Status status;    // why not all: RESOURCE_EXHAUSTED where the bound is reached
  };
  // Makes `records` durable under next_sequence(), and so on by one. One thread.
  virtual Taken append(const std::vector<Record>& records) = 0;
  // What the first record of the next append() gets. Changes by append() alone.
  virtual std::uint64_t next_sequence() const = 0;

  // `count` records were given up.
  virtual void count_dropped(std::uint64_t count) = 0;
  // Ever given up with this data directory.
  virtual std::uint64_t dropped() const = 0;
};

}  // namespace sluice::telemetry
