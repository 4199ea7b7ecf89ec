// Getting a certificate: from a join token at first, from the present certificate later. Every call
// here blocks for up to some seconds and belongs off the control thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/status.h"
#include "proxy/control/credentials.h"

namespace grpc {
class ClientContext;
}

namespace sluice::control {

struct JoinToken {
  std::string group;
  std::string ca_sha256;  // lower-case hex of the CA certificate's DER form
};

// `slj1.` and base64url of JSON {group, ca_sha256, secret}. INVALID_ARGUMENT says what a token is.
absl::StatusOr<JoinToken> parse_join_token(std::string_view text);

// A new P-256 key and a signing request for it, PEM.
struct KeyRequest {
  std::string key_pem;
  std::string csr_pem;
};
absl::StatusOr<KeyRequest> make_key_request(const std::string& node_id);

// The certificate of that fingerprint in the chain that the TLS server at HOST:PORT shows, as PEM.
// The connection is not verified and carries nothing. PERMISSION_DENIED: the chain has no such
// certificate.
absl::StatusOr<std::string> fetch_ca(const std::string& address, const std::string& ca_sha256);

// Lets another thread end a call that blocks. Any thread.
class CallGuard {
 public:
  // False if it was cancelled: do not start.
  bool begin(grpc::ClientContext* context);
  void end();
  void cancel();

 private:
  std::mutex mutex_;
  grpc::ClientContext* context_ = nullptr;
  bool cancelled_ = false;
};

// Tries one control plane after the other. UNAVAILABLE: none was reached.
absl::StatusOr<Credentials> join(const std::vector<std::string>& addresses,
                                 const std::string& token, const std::string& node_id,
                                 CallGuard& guard);

// With the present credentials.
absl::StatusOr<Credentials> renew(const std::string& address, const Credentials& present,
                                  const std::string& node_id, bool own_names, CallGuard& guard);

}  // namespace sluice::control
