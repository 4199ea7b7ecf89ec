// How proxies come in: join tokens, the certificates that they are exchanged for, and the list of
// the proxies that hold one.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "controlplane/pki/authority.h"
#include "controlplane/store/store.h"
#include "sluice/admin/v1/services.pb.h"

namespace sluice::controlplane::pki {

struct KnownProxy {
  std::string node_id;
  std::string group;
  std::string join;  // hex; begins the serial of every certificate of this join
  std::int64_t joined_ms = 0;
  std::int64_t certificate_expires_ms = 0;
  bool removed = false;
};

// The proxies that joined, in memory and as documents of the store. Any thread; remembering and
// removing write to the store and may block.
class Proxies {
 public:
  // Reads what the store has.
  static absl::StatusOr<std::unique_ptr<Proxies>> open(store::Store& store,
                                                       std::string organisation);

  // OK if the certificate's node has joined, in this group, by this certificate's own join, and was
  // not removed since. PERMISSION_DENIED says what to do. Never blocks: for every new stream.
  absl::Status check(const Peer& peer) const;

  std::vector<KnownProxy> list() const;
  std::optional<KnownProxy> find(const std::string& node_id) const;
  absl::Status remember(KnownProxy proxy);
  // From now on its certificates are refused; it may join again with a new token. NOT_FOUND. The
  // caller ends its streams.
  absl::Status remove(const std::string& node_id);

 private:
  Proxies(store::Store& store, std::string organisation)
      : store_(store), organisation_(std::move(organisation)) {}

  store::Store& store_;
  const std::string organisation_;
  mutable std::mutex mutex_;  // guards proxies_
  std::map<std::string, KnownProxy> proxies_;
};

// The handlers of JoinService, and of ProxyService what concerns certificates. Any thread; they
// write to the store and may block.
class Joining {
 public:
  // `connected(node_id)`: whether a live proxy of that name is connected; a second one may not
  // join. References outlive this object.
  Joining(store::Store& store, const Authority& authority, Proxies& proxies,
          std::function<bool(const std::string&)> connected, std::string organisation);

  // `slj1.` and base64url of {"group","ca_sha256","secret"}; kept as SHA-256 only. Defaults as in
  // the proto. INVALID_ARGUMENT; NOT_FOUND: no such group.
  absl::StatusOr<admin::v1::CreateJoinTokenResponse> create_token(
      const admin::v1::CreateJoinTokenRequest& request, Wall now);

  // Uses the token up by one, remembers the node, signs its request. PERMISSION_DENIED: no such
  // token, used up, expired. ALREADY_EXISTS: the node id is connected, or belongs to another group.
  absl::StatusOr<admin::v1::JoinResponse> join(const admin::v1::JoinRequest& request, Wall now);

  // `peer` by its client certificate.
  absl::StatusOr<admin::v1::JoinResponse> renew(const admin::v1::RenewRequest& request,
                                                const Peer& peer, Wall now);

  // For gRPC callers beyond loopback.
  absl::StatusOr<admin::v1::CreateClientCertificateResponse> create_client_certificate(
      const admin::v1::CreateClientCertificateRequest& request, Wall now);

 private:
  absl::StatusOr<std::string> use_token(const std::string& token, Wall now);
  absl::StatusOr<admin::v1::JoinResponse> sign(const std::string& csr_pem, KnownProxy proxy,
                                               Wall now);

  store::Store& store_;
  const Authority& authority_;
  Proxies& proxies_;
  const std::function<bool(const std::string&)> connected_;
  const std::string organisation_;
  std::mutex mutex_;  // one join at a time: uses are counted exactly
};

}  // namespace sluice::controlplane::pki
