#include "proxy/sync/record_uploader.h"

#include <algorithm>
#include <utility>

#include "proxy/base/limits.h"

namespace sluice::sync {

void RecordUploader::on_connected(Send send) {
  send_ = std::move(send);
  cursor_ = acknowledged_;
  unanswered_.clear();
  pump();
}

void RecordUploader::on_response(const records::UploadResponse& response) {
  if (send_ == nullptr) {
    return;
  }
  if (!response.close_connection().empty()) {
    environment_.close(response.close_connection());
  }
  if (response.sequence() == 0) {
    return;
  }
  while (!unanswered_.empty() && unanswered_.front() <= response.sequence()) {
    unanswered_.pop_front();
  }
  // Another epoch's sequence says nothing about this one's; the spool decides by the epoch.
  acknowledged_ = std::max(acknowledged_, std::min(response.sequence(), cursor_));
  environment_.acknowledged(response.epoch(), response.sequence());
  pump();
}

void RecordUploader::on_available() { pump(); }

void RecordUploader::on_disconnected() {
  send_ = nullptr;
  unanswered_.clear();
}

void RecordUploader::pump() {
  while (send_ != nullptr && unanswered_.size() < limits::kRecordBatchesUnansweredMax) {
    std::vector<records::Record> batch = environment_.read(cursor_, limits::kRecordBatchMax);
    if (batch.empty()) {
      return;
    }
    cursor_ = batch.back().sequence();
    sent_ += batch.size();
    unanswered_.push_back(cursor_);
    records::UploadRequest request;
    for (records::Record& record : batch) {
      *request.add_records() = std::move(record);
    }
    send_(std::move(request));
  }
}

RecordUploader::State RecordUploader::state() const {
  return {send_ != nullptr, sent_, acknowledged_, unanswered_.size()};
}

}  // namespace sluice::sync
