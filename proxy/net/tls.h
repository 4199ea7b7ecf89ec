// TLS by OpenSSL 3 over a Side's bytes (a socket's or a pipe's). Contexts are immutable and shared
// between loops; a connection belongs to one loop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/task.h"
#include "proxy/net/loop.h"
#include "proxy/net/side.h"

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_session_st SSL_SESSION;

namespace sluice::net {

enum class ClientCertificates : std::uint8_t { kNone, kOptional, kRequired };

// Certificate and key for accepting. TLS 1.2 and up with a strong set, X25519 first, one session
// ticket (no state here; resumption ends with the context), ALPN `http/1.1`. Immutable; any thread.
class TlsServerContext {
 public:
  // PEM: chain leaf first, and its key. INVALID_ARGUMENT says what does not parse or match.
  // `client_ca_pem` not empty: clients must have a certificate that verifies against it.
  static absl::StatusOr<std::shared_ptr<const TlsServerContext>> create(
      const std::string& certificate_pem, const std::string& key_pem,
      const std::string& client_ca_pem = "");
  // One that shows the certificate of the first of `contexts` which is for the name that the client
  // asks for (SNI; an exact name before a wildcard), else that of contexts[0]. `client_ca_pem`:
  // what clients' certificates are verified against, unless `clients` is kNone.
  static absl::StatusOr<std::shared_ptr<const TlsServerContext>> combine(
      const std::vector<std::shared_ptr<const TlsServerContext>>& contexts,
      ClientCertificates clients, const std::string& client_ca_pem);
  ~TlsServerContext();
  TlsServerContext(const TlsServerContext&) = delete;
  TlsServerContext& operator=(const TlsServerContext&) = delete;
  SSL_CTX* get() const { return context_; }

 private:
  struct Names;
  explicit TlsServerContext(SSL_CTX* context);
  SSL_CTX* context_;
  std::unique_ptr<Names> names_;  // of combine(); null: there is one certificate
};

// Trust for connecting: always verifies chain and name. Keeps the latest session of each peer, to
// resume it. Any thread.
class TlsClientContext {
 public:
  struct Options {
    std::string ca_pem;  // empty: the system's store
    // Of which the server's certificate must have one (DNS names, addresses, URIs), in place of the
    // name that tls_connect is given. Empty: that name.
    std::vector<std::string> subject_names;
    // Whose certificate and key are shown to servers that ask; null: none.
    std::shared_ptr<const TlsServerContext> identity;
  };
  static absl::StatusOr<std::shared_ptr<const TlsClientContext>> create(Options options);
  // The same with `ca_pem` alone.
  static absl::StatusOr<std::shared_ptr<const TlsClientContext>> create(const std::string& ca_pem);
  // For `sluicectl login` on first use only: verifies nothing; the caller compares the fingerprint.
  static std::shared_ptr<const TlsClientContext> create_unverified();
  ~TlsClientContext();
  TlsClientContext(const TlsClientContext&) = delete;
  TlsClientContext& operator=(const TlsClientContext&) = delete;
  SSL_CTX* get() const { return context_; }
  const std::vector<std::string>& subject_names() const { return subject_names_; }

  // For tls_side.cc. `peer` is NAME:PORT. Both give a reference away; null: none.
  SSL_SESSION* take_session(const std::string& peer) const;
  void keep_session(const std::string& peer, SSL_SESSION* session) const;

 private:
  struct Sessions;
  explicit TlsClientContext(SSL_CTX* context);
  SSL_CTX* context_;
  std::vector<std::string> subject_names_;
  std::unique_ptr<Sessions> sessions_;
};

// Does the handshake as server over `plain` (which it takes) and gives a side that speaks clear
// text, paused. `early`: what was read of `plain` before. UNAVAILABLE with OpenSSL's reason,
// DEADLINE_EXCEEDED, CANCELLED.
Task<absl::StatusOr<std::unique_ptr<Side>>> tls_accept(Loop& loop, std::unique_ptr<Side> plain,
                                                       std::shared_ptr<const TlsServerContext> tls,
                                                       Mono deadline, std::string early = "");

// The same as client; `server_name` (a host name or an address) is verified unless the context has
// names of its own, and sent as SNI unless it is an address.
Task<absl::StatusOr<std::unique_ptr<Side>>> tls_connect(Loop& loop, std::unique_ptr<Side> plain,
                                                        std::shared_ptr<const TlsClientContext> tls,
                                                        std::string server_name, Mono deadline);

// SHA-256 of the peer's leaf certificate (DER), lower-case hex; empty if there is none.
std::string peer_certificate_sha256(const Side& side);

// Whether the handshake resumed an earlier session.
bool tls_resumed(const Side& side);

}  // namespace sluice::net
