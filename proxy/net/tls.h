// TLS by OpenSSL 3 over a Side's bytes. Contexts are immutable and shared between loops; sessions
// belong to one loop.
#pragma once

#include <memory>
#include <string>

#include "proxy/base/task.h"
#include "proxy/net/loop.h"
#include "proxy/net/side.h"

typedef struct ssl_ctx_st SSL_CTX;

namespace sluice::net {

// Certificate and key for accepting. TLS 1.2 and up with a strong set, X25519 first, one session
// ticket. Immutable; any thread.
class TlsServerContext {
 public:
  // PEM: chain leaf first, and its key. INVALID_ARGUMENT says what does not parse or match.
  // `client_ca_pem` not empty: client certificates are asked for and must verify against it.
  static absl::StatusOr<std::shared_ptr<const TlsServerContext>> create(
      const std::string& certificate_pem, const std::string& key_pem,
      const std::string& client_ca_pem = "");
  ~TlsServerContext();
  SSL_CTX* get() const { return context_; }

 private:
  explicit TlsServerContext(SSL_CTX* context) : context_(context) {}
  SSL_CTX* context_;
};

// Trust for connecting: always verifies chain and name.
class TlsClientContext {
 public:
  // `ca_pem` empty: the system's store.
  static absl::StatusOr<std::shared_ptr<const TlsClientContext>> create(const std::string& ca_pem);
  // For `sluicectl login` on first use only: verifies nothing; the caller compares the fingerprint.
  static std::shared_ptr<const TlsClientContext> create_unverified();
  ~TlsClientContext();
  SSL_CTX* get() const { return context_; }

 private:
  explicit TlsClientContext(SSL_CTX* context) : context_(context) {}
  SSL_CTX* context_;
};

// Does the handshake as server over `plain` (which it takes) and gives a side that speaks clear
// text. UNAVAILABLE with OpenSSL's reason, DEADLINE_EXCEEDED.
Task<absl::StatusOr<std::unique_ptr<Side>>> tls_accept(Loop& loop, std::unique_ptr<Side> plain,
                                                       std::shared_ptr<const TlsServerContext> tls,
                                                       Mono deadline);

// The same as client; `server_name` is sent as SNI (unless an address) and verified.
Task<absl::StatusOr<std::unique_ptr<Side>>> tls_connect(Loop& loop, std::unique_ptr<Side> plain,
                                                        std::shared_ptr<const TlsClientContext> tls,
                                                        std::string server_name, Mono deadline);

// SHA-256 of the peer's leaf certificate (DER), lower-case hex; empty if it is no TLS side.
std::string peer_certificate_sha256(const Side& side);

}  // namespace sluice::net
