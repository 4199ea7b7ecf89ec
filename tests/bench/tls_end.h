// TLS for the relay: a server's end without a socket, as little as TLS can cost.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proxy/base/status.h"

namespace sluice::bench {

using TlsContext = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;

// From PEM files.
absl::StatusOr<TlsContext> make_server_context(const std::string& certificate_file,
                                               const std::string& key_file);

// Reads and writes strings that its owner shares among all ends: it holds no buffer of its own.
class TlsEnd {
 public:
  explicit TlsEnd(SSL_CTX& context);
  ~TlsEnd();
  TlsEnd(const TlsEnd&) = delete;
  TlsEnd& operator=(const TlsEnd&) = delete;

  // Takes what the socket gave and returns how much it says, in `clear`, which has room for all of
  // it and kRecordBytesMax; `cipher` gets what must be answered. Nothing: the connection is broken.
  std::optional<std::size_t> receive(std::string_view bytes, std::span<char> clear,
                                     std::string& cipher);
  static constexpr std::size_t kRecordBytesMax = 18 * 1024;
  // False: not before the handshake is over.
  bool send(std::string_view bytes, std::string& cipher);

 private:
  friend struct TlsEndBio;
  SSL* ssl_;
  std::string_view input_;
  std::string* output_ = nullptr;
};

}  // namespace sluice::bench
