#include "proxy/sync/record_intake.h"

#include <fmt/format.h>

#include <utility>

namespace sluice::sync {

RecordIntake::RecordIntake(std::string proxy, Environment environment)
    : proxy_(std::move(proxy)),
      environment_(std::move(environment)),
      alive_(std::make_shared<bool>(true)) {}

RecordIntake::~RecordIntake() { *alive_ = false; }

void RecordIntake::on_request(records::UploadRequest request) {
  if (ended_) {
    return;
  }
  queue_.push_back(std::move(request));
  start_next();
}

void RecordIntake::on_disconnected() {
  ended_ = true;
  queue_.clear();
}

void RecordIntake::fail(absl::Status status) {
  ended_ = true;
  queue_.clear();
  environment_.finish(std::move(status));
}

absl::Status RecordIntake::check(records::UploadRequest& request) {
  std::uint64_t before = 0;
  const std::uint64_t epoch = request.records(0).epoch();
  for (records::Record& record : *request.mutable_records()) {
    if (record.epoch() == 0 || record.epoch() != epoch) {
      return invalid_argument("a batch of records must be of one epoch, which is not 0");
    }
    if (record.sequence() <= before) {
      return invalid_argument(fmt::format("record sequence {} follows {}: they must ascend",
                                          record.sequence(), before));
    }
    before = record.sequence();
    record.set_proxy(proxy_);
  }
  return absl::OkStatus();
}

void RecordIntake::start_next() {
  if (busy_ || ended_ || queue_.empty()) {
    return;
  }
  records::UploadRequest request = std::move(queue_.front());
  queue_.pop_front();
  if (request.records().empty()) {
    environment_.read();
    start_next();
    return;
  }
  if (absl::Status status = check(request); !status.ok()) {
    fail(std::move(status));
    return;
  }
  records::UploadResponse response;
  response.set_epoch(request.records().rbegin()->epoch());
  response.set_sequence(request.records().rbegin()->sequence());
  std::vector<records::Record> batch;
  batch.reserve(static_cast<std::size_t>(request.records().size()));
  for (records::Record& record : *request.mutable_records()) {
    batch.push_back(std::move(record));
  }
  busy_ = true;
  environment_.append(std::move(batch), [this, alive = alive_, response](absl::Status status) {
    if (!*alive || ended_) {
      return;
    }
    busy_ = false;
    if (!status.ok()) {
      fail(std::move(status));
      return;
    }
    environment_.send(response);
    environment_.read();
    start_next();
  });
}

}  // namespace sluice::sync
