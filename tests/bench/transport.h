// A client's socket, plain or TLS, without blocking.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "proxy/base/bytes.h"
#include "proxy/base/status.h"
#include "tests/bench/options.h"
#include "tests/bench/sockets.h"
#include "tests/bench/tls_end.h"

namespace sluice::bench {

// Verifies servers with the certificates of `ca_file`, or with the system's when it is empty.
absl::StatusOr<TlsContext> make_tls_context(const std::string& ca_file);

// What the last call to OpenSSL had to say.
std::string tls_error();

class Transport {
 public:
  static constexpr ssize_t kLater = -1;
  static constexpr ssize_t kEnded = -2;

  // Begins to connect. `context` outlives the transport.
  absl::Status connect(const Target& target, SSL_CTX& context);

  // After each event until it is true: whether bytes can flow. An error when they never will.
  absl::StatusOr<bool> ready();

  // How many bytes, or kLater (an event will come), or kEnded (by the peer, or by an error).
  ssize_t read(MutableBytes buffer);
  ssize_t write(std::string_view bytes);

  // Whether a read that does not fill its buffer has emptied the socket.
  bool short_read_empties() const { return tls_ == nullptr; }

  const Fd& fd() const { return fd_; }
  void close();

 private:
  ssize_t outcome_of(int result) const;

  Fd fd_;
  bool connected_ = false;
  std::unique_ptr<SSL, decltype(&SSL_free)> tls_{nullptr, SSL_free};
};

}  // namespace sluice::bench
