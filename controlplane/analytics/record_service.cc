#include "controlplane/analytics/record_service.h"

#include <grpcpp/support/status.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <deque>
#include <future>
#include <map>
#include <optional>
#include <thread>

#include "controlplane/model/limits.h"
#include "proxy/base/task.h"
#include "proxy/sync/record_intake.h"

namespace sluice::controlplane::analytics {
namespace {

using telemetry::v1::Record;
using telemetry::v1::UploadRequest;
using telemetry::v1::UploadResponse;

grpc::Status to_grpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(message_of(status))};
}

}  // namespace

struct RecordService::Core {
  Core(store::Store& s, std::string o) : store(s), organisation(std::move(o)) {
    thread = std::thread([this] { loop.run(); });
  }
  ~Core() {
    storing.join();
    work.reset();
    thread.join();
  }

  void post(std::function<void()> what) { asio::post(loop, std::move(what)); }

  // On the loop's thread; `done` comes back to it.
  void append(const std::string& proxy, std::vector<Record> batch,
              std::function<void(absl::Status)> done) {
    auto store_batch = [this, proxy, batch = std::move(batch), done = std::move(done)]() mutable {
      const std::size_t count = batch.size();
      absl::Status status = store.append_records(organisation, proxy, std::move(batch));
      if (status.ok()) {
        stats.records += count;
      } else {
        ++stats.failures;
      }
      post([done = std::move(done), status = std::move(status)] { done(status); });
    };
    asio::post(storing, std::move(store_batch));
  }

  store::Store& store;
  const std::string organisation;
  Stats stats;
  asio::io_context loop{1};
  asio::executor_work_guard<Executor> work{loop.get_executor()};
  asio::thread_pool storing{limits::kRecordStoreThreads};
  struct Stream {
    std::string proxy;
    std::function<void()> end;
    std::function<bool(UploadResponse)> send;  // false: it is ending
  };
  // Each live stream, and whether all are to end; on the loop's thread.
  std::map<const void*, Stream> streams;
  bool ending = false;
  std::thread thread;
};

namespace {

// One proxy's stream. gRPC calls it on threads of its own; everything but the buffers of a read or
// a write under way is touched on the loop's thread only. Deletes itself after OnDone.
class UploadStream final : public grpc::ServerBidiReactor<UploadRequest, UploadResponse> {
 public:
  UploadStream(RecordService::Core& core, const std::string& proxy)
      : core_(core), intake_(proxy, environment(proxy)) {
    ++core_.stats.streams;
    core_.post([this, proxy] {
      const auto send_now = [this](UploadResponse response) { return send(std::move(response)); };
      core_.streams.emplace(this, RecordService::Core::Stream{proxy, [this] { end(); }, send_now});
      if (core_.ending) {
        end();
      }
    });
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    core_.post([this, ok] {
      if (ok) {
        intake_.on_request(std::move(request_));
      } else {
        intake_.on_disconnected();
        finish(absl::OkStatus());
      }
    });
  }

  void OnWriteDone(bool /*ok*/) override {
    core_.post([this] {
      writing_ = false;
      write_next();
    });
  }

  void OnCancel() override {
    core_.post([this] {
      intake_.on_disconnected();
      responses_.clear();
      finish(absl::CancelledError("the proxy has gone"));
    });
  }

  void OnDone() override {
    core_.post([this] {
      core_.streams.erase(this);
      --core_.stats.streams;
      delete this;
    });
  }

 private:
  sync::RecordIntake::Environment environment(const std::string& proxy) {
    sync::RecordIntake::Environment environment;
    environment.append = [this, proxy](std::vector<Record> batch,
                                       std::function<void(absl::Status)> done) {
      core_.append(proxy, std::move(batch), std::move(done));
    };
    environment.send = [this](UploadResponse response) { send(std::move(response)); };
    environment.finish = [this](absl::Status status) { finish(std::move(status)); };
    environment.read = [this] {
      if (!end_) {
        request_.Clear();
        StartRead(&request_);
      }
    };
    return environment;
  }

  bool send(UploadResponse response) {
    if (end_) {
      return false;
    }
    responses_.push_back(std::move(response));
    write_next();
    return true;
  }

  // What is not acknowledged yet comes again.
  void end() {
    intake_.on_disconnected();
    finish(absl::UnavailableError("the control plane is ending"));
  }

  void finish(absl::Status status) {
    if (!end_) {
      end_ = std::move(status);
      write_next();
    }
  }

  // Writes come before the end, one at a time.
  void write_next() {
    if (writing_ || finished_) {
      return;
    }
    if (!responses_.empty()) {
      response_ = std::move(responses_.front());
      responses_.pop_front();
      writing_ = true;
      StartWrite(&response_);
    } else if (end_) {
      finished_ = true;
      Finish(to_grpc(*end_));
    }
  }

  RecordService::Core& core_;
  UploadRequest request_;
  UploadResponse response_;
  std::deque<UploadResponse> responses_;
  std::optional<absl::Status> end_;
  bool writing_ = false;
  bool finished_ = false;
  sync::RecordIntake intake_;
};

class RefusedStream final : public grpc::ServerBidiReactor<UploadRequest, UploadResponse> {
 public:
  explicit RefusedStream(const absl::Status& status) { Finish(to_grpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

RecordService::RecordService(store::Store& store, std::string organisation, Identify identify)
    : core_(std::make_unique<Core>(store, std::move(organisation))),
      identify_(std::move(identify)) {}

RecordService::~RecordService() = default;

const RecordService::Stats& RecordService::stats() const { return core_->stats; }

void RecordService::stop() {
  Core* core = core_.get();
  core->post([core] {
    core->ending = true;
    for (const auto& [key, stream] : core->streams) {
      stream.end();
    }
  });
}

bool RecordService::close_connection(const std::string& proxy, const std::string& connection) {
  std::promise<bool> told;
  core_->post([&] {
    UploadResponse response;
    response.set_close_connection(connection);
    bool sent = false;
    for (const auto& [key, stream] : core_->streams) {
      sent = (stream.proxy == proxy && stream.send(response)) || sent;
    }
    told.set_value(sent);
  });
  return told.get_future().get();
}

grpc::ServerBidiReactor<UploadRequest, UploadResponse>* RecordService::Upload(
    grpc::CallbackServerContext* context) {
  absl::StatusOr<std::string> proxy = identify_(*context);
  if (!proxy.ok()) {
    return new RefusedStream(proxy.status());
  }
  return new UploadStream(*core_, *proxy);
}

}  // namespace sluice::controlplane::analytics
