// The control plane's half of the record stream, sans-I/O.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/status.h"
#include "sluice/telemetry/v1/telemetry.pb.h"

namespace sluice::sync {

namespace records = ::sluice::telemetry::v1;

// One stream of one proxy. One thread.
class RecordIntake {
 public:
  struct Environment {
    // Stores records of this proxy for good, those that are there already left out; `done`, once,
    // on this thread. One call at a time.
    std::function<void(std::vector<records::Record> batch, std::function<void(absl::Status)> done)>
        append;
    std::function<void(records::UploadResponse)> send;
    // The stream must end: UNAVAILABLE if records cannot be stored (the proxy keeps them and tries
    // again), INVALID_ARGUMENT for what breaks the protocol. Called once; nothing is sent after it.
    std::function<void(absl::Status)> finish;
    // The next request may be delivered; called once for each.
    std::function<void()> read;
  };

  // `proxy`: the node id, from the client certificate.
  RecordIntake(std::string proxy, Environment environment);
  ~RecordIntake();

  void on_request(records::UploadRequest request);
  // No callable but those of an append under way is called after it.
  void on_disconnected();

 private:
  void start_next();
  absl::Status check(records::UploadRequest& request);
  void fail(absl::Status status);

  std::string proxy_;
  Environment environment_;
  std::deque<records::UploadRequest> queue_;
  std::shared_ptr<bool> alive_;
  bool busy_ = false;
  bool ended_ = false;
};

}  // namespace sluice::sync
