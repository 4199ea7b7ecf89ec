// Records as JSON lines, for proxies without a control plane.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/limits.h"
#include "proxy/telemetry/line_writer.h"
#include "proxy/telemetry/sink.h"

namespace sluice::telemetry {

// DATA/records.jsonl with one rotation (.1), or stdout. Each line has `"kind":"record"`, its
// sequence, and the fields of sluice.telemetry.v1.Record by their JSON names' spelling there
// (snake_case). One thread appends; the numbers may be read by any.
class JsonSink final : public RecordSink {
 public:
  // Goes on after the last whole line of the file; a torn one is cut off. At `bytes_max` the file
  // becomes PATH.1.
  static absl::StatusOr<std::unique_ptr<JsonSink>> open_file(
      std::string path, std::uint64_t bytes_max = limits::kRecordFileBytesMax);
  static absl::StatusOr<std::unique_ptr<JsonSink>> to_stdout();
  ~JsonSink() override;

  std::uint64_t epoch() const override { return 1; }
  std::uint64_t last_sequence() const override;
  Taken append(const std::vector<Record>& records) override;
  std::uint64_t next_sequence() const override { return last_sequence() + 1; }
  void count_dropped(std::uint64_t count) override;
  std::uint64_t dropped() const override;

 private:
  JsonSink(std::string path, std::uint64_t bytes_max)
      : path_(std::move(path)), bytes_max_(bytes_max) {}
  absl::Status open();
  absl::Status cut_torn_line(std::string_view tail);
  absl::Status cut(std::uint64_t size);
  void rotate_if_full();
  std::size_t write_lines(const std::string& lines, const std::vector<std::size_t>& ends,
                          absl::Status& status);

  std::string path_;  // empty: stdout
  std::uint64_t bytes_max_;
  int fd_ = -1;
  std::uint64_t bytes_ = 0;          // in the file, a torn line that could not be cut included
  std::unique_ptr<LineWriter> out_;  // of stdout
  mutable std::mutex mutex_;         // of what follows
  std::uint64_t last_ = 0;
  std::uint64_t dropped_ = 0;
  std::uint64_t told_ = 0;
};

std::string to_json_line(const NumberedRecord& record);

}  // namespace sluice::telemetry
