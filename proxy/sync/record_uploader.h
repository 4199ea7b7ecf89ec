// The proxy's half of the record stream (RecordService.Upload), sans-I/O: batches in order, some of
// them unanswered, freed when the control plane says that they are stored.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "proxy/base/status.h"
#include "sluice/telemetry/v1/telemetry.pb.h"

namespace sluice::sync {

namespace records = ::sluice::telemetry::v1;

// Control thread.
class RecordUploader {
 public:
  struct Environment {
    // At most `records_max` records that follow sequence `after` (0: from the first there is), in
    // order; empty if there is none yet. All of one epoch.
    std::function<std::vector<records::Record>(std::uint64_t after, std::size_t records_max)> read;
    // All up to and including it are stored for good and may be freed.
    std::function<void(std::uint64_t epoch, std::uint64_t sequence)> acknowledged;
    // An operator wants the connection of that id closed.
    std::function<void(const std::string& connection)> close;
  };
  using Send = std::function<void(records::UploadRequest)>;

  explicit RecordUploader(Environment environment) : environment_(std::move(environment)) {}

  // Begins again after what was acknowledged last: the receiver recognises what it has.
  void on_connected(Send send);
  void on_response(const records::UploadResponse& response);
  // New records can be read.
  void on_available();
  void on_disconnected();

  struct State {
    bool connected = false;
    std::uint64_t sent = 0;  // records, repeated ones included
    std::uint64_t acknowledged_sequence = 0;
    std::size_t batches_unanswered = 0;
  };
  State state() const;

 private:
  void pump();

  Environment environment_;
  Send send_;
  std::uint64_t cursor_ = 0;  // last sequence sent on this stream
  std::uint64_t acknowledged_ = 0;
  std::deque<std::uint64_t> unanswered_;  // last sequence of each batch
  std::uint64_t sent_ = 0;
};

}  // namespace sluice::sync
