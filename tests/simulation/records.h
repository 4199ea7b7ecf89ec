// Where records end up on both planes, in memory, and the stream between them.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proxy/sync/record_intake.h"
#include "proxy/sync/record_uploader.h"
#include "proxy/telemetry/sink.h"
#include "tests/simulation/channel.h"
#include "tests/simulation/discovery_link.h"
#include "tests/simulation/report.h"

namespace sluice::simulation {

using WireRecord = ::sluice::telemetry::v1::Record;

// The proxy's disk.
class MemorySink final : public telemetry::RecordSink {
 public:
  explicit MemorySink(Chance& chance) : chance_(chance) {}

  bool failing = false;  // takes only a part of each batch

  std::uint64_t epoch() const override { return 7; }
  std::uint64_t last_sequence() const override { return next_ - 1; }
  std::uint64_t next_sequence() const override { return next_; }
  Taken append(const std::vector<telemetry::Record>& records) override;
  void count_dropped(std::uint64_t count) override { dropped_ += count; }
  std::uint64_t dropped() const override { return dropped_; }

  std::vector<WireRecord> read(std::uint64_t after, std::size_t records_max) const;
  void acknowledge(std::uint64_t epoch, std::uint64_t sequence);
  bool empty() const { return records_.empty(); }

 private:
  Chance& chance_;
  std::deque<telemetry::NumberedRecord> records_;
  std::uint64_t next_ = 1;
  std::uint64_t dropped_ = 0;
};

// The control plane's store, by its rule: within a proxy's epoch only what is newer than the newest
// is taken.
class RecordStore {
 public:
  void append(const std::vector<WireRecord>& batch);
  const std::vector<WireRecord>& records() const { return records_; }

 private:
  std::vector<WireRecord> records_;
  std::map<std::uint64_t, std::uint64_t> heads_;  // newest sequence by epoch
};

// RecordService.Upload. The store's answers are late, fail, or are lost with the stream.
class RecordLink {
 public:
  RecordLink(const DiscoveryLink::Parts& parts, MemorySink& sink, RecordStore& store);
  ~RecordLink();

  bool store_fails = false;

  void begin() { connector_.begin(); }
  void cut();
  void available() { uploader_.on_available(); }
  bool connected() const { return intake_ != nullptr; }

 private:
  bool connect();
  sync::RecordIntake::Environment intake_environment();
  void append(std::vector<WireRecord> batch, std::function<void(absl::Status)> done);

  DiscoveryLink::Parts parts_;
  RecordStore& store_;
  sync::RecordUploader uploader_;
  Connector connector_;
  Channel<sync::records::UploadRequest> up_;
  Channel<sync::records::UploadResponse> down_;
  std::unique_ptr<sync::RecordIntake> intake_;
  std::uint64_t stream_ = 0;
};

}  // namespace sluice::simulation
