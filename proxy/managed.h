// What a proxy under a control plane has: discovery, identities, record upload, last-good.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "proxy/base/work_thread.h"
#include "proxy/config/last_good.h"
#include "proxy/options.h"
#include "proxy/sync/config_client.h"
#include "proxy/sync/identity_client.h"
#include "proxy/sync/record_uploader.h"
#include "proxy/worker/publication.h"

namespace sluice::control {
class ControlPlaneClient;
}

namespace sluice {

struct Parts;

// Control thread.
class Managed {
 public:
  // `disk` runs what blocks and must be drained (destroyed) after stop() and before this.
  Managed(Parts& parts, WorkThread& disk);
  ~Managed();

  // Serves what the disk has, then connects. An error: this proxy has no way in (no certificate and
  // no join token), or its data directory cannot be used.
  absl::Status start();
  void stop();

  // For the workers: asks on the control thread.
  std::function<void(Sha256, std::string, std::function<void(absl::StatusOr<model::Identity>)>)>
  token_asker();
  void records_available();

  // Why nothing is in force yet, for /ready.
  std::string waiting_for() const;

  const sync::ConfigClient& config() const { return config_; }
  const sync::IdentityClient& identities() const { return identities_; }
  const sync::RecordUploader& uploader() const { return uploader_; }
  const control::ControlPlaneClient* client() const { return client_.get(); }

  // Checks last-good on disk; prints what is wrong. An exit status.
  static int validate(const Options& options);

 private:
  sync::ConfigClient::Environment config_environment();
  sync::IdentityClient::Environment identity_environment();
  sync::RecordUploader::Environment upload_environment();
  absl::Status connect();
  void persist(config::Delta delta, std::function<void(absl::Status)> done);

  Parts& parts_;
  WorkThread& disk_;
  std::unique_ptr<config::LastGood> last_good_;
  sync::ConfigClient config_;
  sync::IdentityClient identities_;
  sync::RecordUploader uploader_;
  WorkThread keys_;  // what blocks for seconds: joining, renewing
  std::unique_ptr<control::ControlPlaneClient> client_;
};

}  // namespace sluice
