// The spool: records on disk until the control plane has acknowledged them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "proxy/base/limits.h"
#include "proxy/telemetry/sink.h"

namespace sluice::telemetry {

// A folder of segments, each a run of checksummed records, and a mapped file of state (epoch, what
// was acknowledged, what was dropped). After kill -9 it holds exactly what append() reported as
// taken, and perhaps a prefix of the batch under way; last_sequence() tells. After a power failure
// the end may be missing: sequences then go on far above any that could have been sent. A full disk
// or the bound refuses records and harms nothing; the next append() tries again. Any thread (a
// mutex; reads come from the page cache as a rule).
class Spool final : public RecordSink {
 public:
  struct Options {
    std::string directory;  // created if absent
    std::uint64_t bytes_max = limits::kSpoolBytesMax;
    std::uint64_t segment_bytes = limits::kSpoolSegmentBytes;
    // The system's write, or one that fails, for tests.
    ssize_t (*write)(int fd, const void* data, std::size_t size) = nullptr;
  };
  // What cannot be read of an earlier process is renamed aside and logged, never an error. An
  // error: the folder cannot be made or another process has it.
  static absl::StatusOr<std::unique_ptr<Spool>> open(Options options);
  ~Spool() override;

  std::uint64_t epoch() const override;
  std::uint64_t last_sequence() const override;
  Taken append(const std::vector<Record>& records) override;
  std::uint64_t next_sequence() const override;
  void count_dropped(std::uint64_t count) override;
  std::uint64_t dropped() const override;

  // The records that follow `after` and are not acknowledged, in order, at most `records_max`;
  // empty only if there is none. What is damaged is skipped to its segment's end and counts as
  // dropped.
  std::vector<NumberedRecord> read(std::uint64_t after, std::size_t records_max);

  // All up to `sequence` are stored elsewhere. Of another epoch, or lower than before: ignored.
  void acknowledge(std::uint64_t epoch, std::uint64_t sequence);
  std::uint64_t acknowledged() const;

  // Not acknowledged yet.
  std::uint64_t waiting() const;
  std::uint64_t bytes() const;
  // OK, or why the last append() did not take all.
  absl::Status health() const;

 private:
  struct State;
  struct Segment {
    std::string path;
    std::uint64_t first = 0;  // sequences
    std::uint64_t last = 0;   // first - 1: empty
    std::uint64_t bytes = 0;  // up to the end of its last whole frame
  };
  // Where the last read ended, so that the next one needs no search.
  struct Cursor {
    std::uint64_t sequence = 0;
    std::uint64_t segment_first = 0;
    std::uint64_t offset = 0;
  };

  explicit Spool(Options options);
  absl::Status map_state();
  void recover();
  bool recover_segment(const std::string& name, bool& cut);
  void set_aside(const std::string& path, std::string_view why);
  absl::Status open_segment();
  void close_segment();
  absl::Status cut_tail();
  std::size_t write_frames(const std::string& frames, const std::vector<std::size_t>& ends);
  void drop_acknowledged();
  void read_segment(Segment& segment, std::uint64_t after, std::size_t records_max,
                    std::vector<NumberedRecord>& out);

  Options options_;
  mutable std::mutex mutex_;
  int state_fd_ = -1;
  State* state_ = nullptr;
  std::deque<Segment> segments_;  // the newest is written to while fd_ is open
  int fd_ = -1;
  bool tail_dirty_ = false;  // bytes of a failed write lie behind the newest's end
  std::uint64_t next_ = 1;
  std::uint64_t last_ = 0;
  std::uint64_t bytes_ = 0;  // of all segments
  Cursor cursor_;
  absl::Status health_;
};

}  // namespace sluice::telemetry
