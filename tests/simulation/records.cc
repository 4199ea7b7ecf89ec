#include "tests/simulation/records.h"

#include <algorithm>

#include "proxy/base/plant.h"
#include "proxy/sync/record_wire.h"

namespace sluice::simulation {

telemetry::RecordSink::Taken MemorySink::append(const std::vector<telemetry::Record>& records) {
  Taken taken;
  taken.count = records.size();
  if (failing) {
    taken.count = std::min(taken.count, static_cast<std::size_t>(chance_.between(0, 2)));
    taken.status = resource_exhausted("the simulated disk is full");
  }
  for (std::size_t i = 0; i < taken.count; ++i) {
    records_.push_back({epoch(), next_++, 0, records[i]});
  }
  return taken;
}

std::vector<WireRecord> MemorySink::read(std::uint64_t after, std::size_t records_max) const {
  std::vector<WireRecord> out;
  for (const telemetry::NumberedRecord& record : records_) {
    if (record.sequence > after && out.size() < records_max) {
      out.push_back(sync::to_wire(record));
    }
  }
  return out;
}

void MemorySink::acknowledge(std::uint64_t epoch, std::uint64_t sequence) {
  while (epoch == this->epoch() && !records_.empty() && records_.front().sequence <= sequence) {
    records_.pop_front();
  }
}

void RecordStore::append(const std::vector<WireRecord>& batch) {
  for (const WireRecord& record : batch) {
    std::uint64_t& head = heads_[record.epoch()];
    if (record.sequence() <= head && !SLUICE_PLANT(kDoubledRecord)) {
      continue;  // it has come before
    }
    head = record.sequence();
    records_.push_back(record);
  }
}

RecordLink::RecordLink(const DiscoveryLink::Parts& parts, MemorySink& sink, RecordStore& store)
    : parts_(parts),
      store_(store),
      uploader_({[&sink](std::uint64_t after, std::size_t max) { return sink.read(after, max); },
                 [&sink](std::uint64_t epoch, std::uint64_t sequence) {
                   sink.acknowledge(epoch, sequence);
                 },
                 [](const std::string& /*connection*/) {}}),
      connector_(parts.schedule, parts.chance, [this] { return connect(); }),
      up_(parts.schedule, parts.chance, Channel<sync::records::UploadRequest>::Flow::kOne,
          [this](sync::records::UploadRequest request) {
            intake_->on_request(std::move(request));
          }),
      down_(parts.schedule, parts.chance, Channel<sync::records::UploadResponse>::Flow::kAll,
            [this](const sync::records::UploadResponse& response) {
              connector_.heard();
              uploader_.on_response(response);
            }) {}

RecordLink::~RecordLink() = default;

bool RecordLink::connect() {
  if (!parts_.control_plane_up) {
    return false;
  }
  parts_.report.trace("records: connected");
  ++stream_;
  intake_ = std::make_unique<sync::RecordIntake>("proxy", intake_environment());
  up_.read();
  uploader_.on_connected(
      [this](sync::records::UploadRequest request) { up_.send(std::move(request)); });
  return true;
}

sync::RecordIntake::Environment RecordLink::intake_environment() {
  sync::RecordIntake::Environment environment;
  environment.append = [this](std::vector<WireRecord> batch,
                              std::function<void(absl::Status)> done) {
    append(std::move(batch), std::move(done));
  };
  environment.send = [this](sync::records::UploadResponse response) {
    down_.send(std::move(response));
  };
  environment.read = [this] { up_.read(); };
  environment.finish = [this](const absl::Status& status) {
    if (absl::IsInvalidArgument(status)) {
      parts_.report.broken("the proxy keeps the protocol", message_of(status));
    }
    // Not from within the intake, which the cut destroys.
    parts_.schedule.after(nanoseconds(0), [this, stream = stream_] {
      if (stream == stream_) {
        cut();
      }
    });
  };
  return environment;
}

void RecordLink::append(std::vector<WireRecord> batch, std::function<void(absl::Status)> done) {
  const auto shared = std::make_shared<std::vector<WireRecord>>(std::move(batch));
  parts_.schedule.after(parts_.chance.lateness(), [this, shared, done = std::move(done)] {
    if (store_fails) {
      done(unavailable("the simulated store is full"));
      return;
    }
    store_.append(*shared);
    // It is stored whether or not anybody is left to hear it.
    parts_.schedule.after(parts_.chance.lateness(), [done] { done(absl::OkStatus()); });
  });
}

void RecordLink::cut() {
  if (intake_ == nullptr) {
    return;
  }
  parts_.report.trace("records: cut");
  ++stream_;
  intake_->on_disconnected();
  intake_ = nullptr;
  up_.cut();
  down_.cut();
  uploader_.on_disconnected();
  connector_.lost();
}

}  // namespace sluice::simulation
