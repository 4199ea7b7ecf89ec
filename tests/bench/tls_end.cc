#include "tests/bench/tls_end.h"

#include <fmt/core.h>
#include <openssl/err.h>

#include <algorithm>
#include <cstring>

namespace sluice::bench {

// What OpenSSL takes for a socket.
struct TlsEndBio {
  static int read(BIO* bio, char* out, int size) {
    auto* end = static_cast<TlsEnd*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const std::size_t count = std::min(end->input_.size(), static_cast<std::size_t>(size));
    if (count == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    std::memcpy(out, end->input_.data(), count);
    end->input_.remove_prefix(count);
    return static_cast<int>(count);
  }
  static int write(BIO* bio, const char* bytes, int size) {
    BIO_clear_retry_flags(bio);
    static_cast<TlsEnd*>(BIO_get_data(bio))->output_->append(bytes, static_cast<std::size_t>(size));
    return size;
  }
  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

  static const BIO_METHOD* method() {
    static const BIO_METHOD* const made = [] {
      BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "bench end");
      BIO_meth_set_read(m, read);
      BIO_meth_set_write(m, write);
      BIO_meth_set_ctrl(m, control);
      return m;
    }();
    return made;
  }
};

absl::StatusOr<TlsContext> make_server_context(const std::string& certificate_file,
                                               const std::string& key_file) {
  TlsContext context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set1_groups_list(context.get(), "X25519:P-256");
  SSL_CTX_set_num_tickets(context.get(), 1);
  if (SSL_CTX_use_certificate_chain_file(context.get(), certificate_file.c_str()) != 1 ||
      SSL_CTX_use_PrivateKey_file(context.get(), key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    ERR_clear_error();
    return invalid_argument(
        fmt::format("cannot use {} with {} as certificate and key", certificate_file, key_file));
  }
  return context;
}

TlsEnd::TlsEnd(SSL_CTX& context) : ssl_(SSL_new(&context)) {
  BIO* bio = BIO_new(TlsEndBio::method());
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_accept_state(ssl_);
}

TlsEnd::~TlsEnd() { SSL_free(ssl_); }

std::optional<std::size_t> TlsEnd::receive(std::string_view bytes, std::span<char> clear,
                                           std::string& cipher) {
  input_ = bytes;
  output_ = &cipher;
  ERR_clear_error();
  std::size_t size = 0;
  while (!input_.empty() || SSL_pending(ssl_) > 0) {
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl_, clear.data() + size, clear.size() - size, &got);
    size += got;
    if (result != 1) {
      const int error = SSL_get_error(ssl_, result);
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_ZERO_RETURN) {
        return std::nullopt;
      }
      break;
    }
  }
  return size;
}

bool TlsEnd::send(std::string_view bytes, std::string& cipher) {
  output_ = &cipher;
  std::size_t written = 0;
  ERR_clear_error();
  return SSL_is_init_finished(ssl_) == 1 &&
         SSL_write_ex(ssl_, bytes.data(), bytes.size(), &written) == 1;
}

}  // namespace sluice::bench
