// The proxy's side of the control plane's gRPC port: two discovery streams (configuration,
// identities), the record upload, and the certificate that opens them. Carries the messages of
// proxy/sync and decides nothing about them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/rng.h"
#include "proxy/base/status.h"
#include "proxy/base/timer_wheel.h"
#include "proxy/sync/config_client.h"
#include "proxy/sync/identity_client.h"
#include "proxy/sync/record_uploader.h"

namespace sluice::control {

struct ControlOptions {
  std::vector<std::string> addresses;  // HOST:PORT, at least one; the next one is tried on failure
  std::string node_id;            // told, and believed only in plain text; else the certificate's
  std::string group = "default";  // likewise
  std::string data_dir;           // keeps tls/proxy{,-key,-ca}.pem
  std::string join_token_file;    // empty: must have joined before
  // All three or none. Instead of what joining gives; read anew at each connection.
  std::string tls_cert_file;
  std::string tls_key_file;
  std::string tls_ca_file;
  bool insecure_plaintext = false;    // no TLS at all
  std::string software;               // shown to people, e.g. `sluice-proxy 0.1.0`
  std::vector<std::string> warnings;  // shown by `sluicectl status` and `proxies list`
};

struct ControlEnvironment {
  Clock& clock;
  TimerWheel& timers;
  Rng& rng;
  // Runs work on the control thread; called from any thread, valid until stop() has returned and
  // `blocking` runs nothing of ours any more.
  std::function<void(std::function<void()> work)> post;
  // Runs work that may block for seconds on another thread.
  std::function<void(std::function<void()> work)> blocking;
};

// Control thread. The state machines outlive it.
class ControlPlaneClient {
 public:
  ControlPlaneClient(ControlOptions options, ControlEnvironment environment,
                     sync::ConfigClient& config, sync::IdentityClient& identity,
                     sync::RecordUploader& records);
  ~ControlPlaneClient();
  ControlPlaneClient(const ControlPlaneClient&) = delete;
  ControlPlaneClient& operator=(const ControlPlaneClient&) = delete;

  // Starts to connect, and goes on for ever. FAILED_PRECONDITION for what no retry can mend: no
  // certificate and no join token, a file that cannot be read. Says what to do.
  absl::Status start();
  // Ends all streams. No callable and no state machine is called after it has returned. Idempotent.
  void stop();

  struct State {
    bool connected = false;      // configuration flows
    std::string address;         // of the control plane in use or tried last
    Wall since{};                // when it became so
    std::string problem;         // why it is not connected, for people; empty if it is
    Wall certificate_expires{};  // epoch: there is none
    std::uint64_t connects = 0;  // streams of configuration that came up
    std::uint64_t failures = 0;  // that did not, or ended with an error
    std::uint64_t renewals = 0;
  };
  State state() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::control
