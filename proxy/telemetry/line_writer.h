// Writes lines to a file or a pipe without waiting for a reader.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/status.h"

namespace sluice::telemetry {

// One thread.
class LineWriter {
 public:
  // `path`: appended to, created if absent (0640); `-`: stdout.
  static absl::StatusOr<std::unique_ptr<LineWriter>> open(const std::string& path);
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // Takes a whole line with its newline; false if too many bytes wait already.
  bool add(std::string_view line);
  // Writes what waits, as far as the reader takes it. An error of the disk is returned and what
  // waits stays.
  absl::Status flush();
  std::size_t waiting() const { return buffer_.size() - begin_; }

 private:
  LineWriter(int fd, bool own, bool may_block) : fd_(fd), own_(own), may_block_(may_block) {}

  int fd_;
  bool own_;
  bool may_block_;  // a pipe, socket or terminal: write only what it takes now
  std::string buffer_;
  std::size_t begin_ = 0;  // of what waits in buffer_
};

}  // namespace sluice::telemetry
