#include "tests/bench/transport.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

namespace sluice::bench {
namespace {

bool is_number(const std::string& host) {
  std::array<std::uint8_t, sizeof(in6_addr)> ignored;
  return inet_pton(AF_INET, host.c_str(), ignored.data()) == 1 ||
         inet_pton(AF_INET6, host.c_str(), ignored.data()) == 1;
}

int clamp(std::size_t size) { return static_cast<int>(std::min<std::size_t>(size, INT_MAX)); }

}  // namespace

absl::StatusOr<TlsContext> make_tls_context(const std::string& ca_file) {
  TlsContext context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  const int loaded = ca_file.empty() ? SSL_CTX_set_default_verify_paths(context.get())
                                     : SSL_CTX_load_verify_file(context.get(), ca_file.c_str());
  if (loaded != 1) {
    return invalid_argument(
        fmt::format("cannot use {} to verify servers: {}", ca_file, tls_error()));
  }
  return context;
}

std::string tls_error() {
  std::array<char, 256> text;
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  return text.data();
}

absl::Status Transport::connect(const Target& target, SSL_CTX& context) {
  SLUICE_ASSIGN_OR_RETURN(fd_, start_connect(target.address));
  if (!target.tls) {
    return absl::OkStatus();
  }
  tls_.reset(SSL_new(&context));
  SSL_set_fd(tls_.get(), fd_.get());
  SSL_set_connect_state(tls_.get());
  if (is_number(target.host)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls_.get()), target.host.c_str());
  } else {
    SSL_set_tlsext_host_name(tls_.get(), target.host.c_str());
    SSL_set1_host(tls_.get(), target.host.c_str());
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Transport::ready() {
  if (!connected_) {
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      return unavailable(fmt::format("cannot connect: {}", std::strerror(error)));
    }
    sockaddr_storage peer{};
    size = sizeof(peer);
    connected_ = getpeername(fd_.get(), reinterpret_cast<sockaddr*>(&peer), &size) == 0;
  }
  if (!connected_ || tls_ == nullptr || SSL_is_init_finished(tls_.get())) {
    return connected_;
  }
  ERR_clear_error();
  const int result = SSL_do_handshake(tls_.get());
  if (result == 1) {
    return true;
  }
  if (outcome_of(result) == kLater) {
    return false;
  }
  const long verdict = SSL_get_verify_result(tls_.get());
  return unavailable(
      fmt::format("TLS handshake failed: {}",
                  verdict == X509_V_OK ? tls_error() : X509_verify_cert_error_string(verdict)));
}

ssize_t Transport::outcome_of(int result) const {
  const int error = SSL_get_error(tls_.get(), result);
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? kLater : kEnded;
}

ssize_t Transport::read(MutableBytes buffer) {
  if (tls_ != nullptr) {
    ERR_clear_error();
    const int got = SSL_read(tls_.get(), buffer.data(), clamp(buffer.size()));
    return got > 0 ? got : outcome_of(got);
  }
  const ssize_t got = recv(fd_.get(), buffer.data(), buffer.size(), 0);
  return got > 0 ? got : got < 0 && errno == EAGAIN ? kLater : kEnded;
}

ssize_t Transport::write(std::string_view bytes) {
  if (tls_ != nullptr) {
    ERR_clear_error();
    const int sent = SSL_write(tls_.get(), bytes.data(), clamp(bytes.size()));
    return sent > 0 ? sent : outcome_of(sent);
  }
  const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  return sent >= 0 ? sent : errno == EAGAIN ? kLater : kEnded;
}

void Transport::close() {
  tls_.reset();
  fd_.reset();
}

}  // namespace sluice::bench
