#include "proxy/control/join.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <netdb.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>

#include "proxy/base/encoding.h"
#include "proxy/base/limits.h"
#include "proxy/control/channel.h"
#include "sluice/admin/v1/services.grpc.pb.h"

namespace sluice::control {

namespace {

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using RequestPtr = std::unique_ptr<X509_REQ, Deleter<X509_REQ_free>>;
using ContextPtr = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Deleter<SSL_free>>;
using AddressesPtr = std::unique_ptr<addrinfo, Deleter<freeaddrinfo>>;

struct Socket {
  int fd = -1;
  ~Socket() {
    if (fd >= 0) {
      ::close(fd);
    }
  }
};

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r\n");
  const auto end = text.find_last_not_of(" \t\r\n");
  return begin == std::string_view::npos ? "" : text.substr(begin, end - begin + 1);
}

std::optional<std::string> from_base64url(std::string_view text) {
  std::string padded(text);
  std::ranges::replace(padded, '-', '+');
  std::ranges::replace(padded, '_', '/');
  padded.append((4 - padded.size() % 4) % 4, '=');
  return from_base64(padded);
}

bool connect_within(int fd, const addrinfo& address, nanoseconds timeout) {
  if (::connect(fd, address.ai_addr, address.ai_addrlen) == 0) {
    return true;
  }
  pollfd waiting{fd, POLLOUT, 0};
  int error = errno;
  if (error == EINPROGRESS) {
    const int ms = static_cast<int>(duration_cast<milliseconds>(timeout).count());
    socklen_t size = sizeof error;
    error = ETIMEDOUT;
    if (::poll(&waiting, 1, ms) == 1) {
      ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
  }
  errno = error;
  return error == 0;
}

absl::Status dial(const std::string& address, Socket& socket) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) {
    return invalid_argument(fmt::format("'{}' is not HOST:PORT", address));
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found);
  if (error != 0) {
    return unavailable(fmt::format("cannot resolve {}: {}", host, ::gai_strerror(error)));
  }
  const AddressesPtr addresses(found);
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    Socket attempt{::socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (attempt.fd >= 0 && connect_within(attempt.fd, *each, limits::kControlConnectTimeout)) {
      std::swap(socket.fd, attempt.fd);
      return absl::OkStatus();
    }
  }
  return unavailable(fmt::format("cannot connect to {}: {}", address, std::strerror(errno)));
}

// The handshake on a non-blocking socket.
absl::Status shake_hands(SSL* ssl, int fd, const std::string& address) {
  const auto deadline = std::chrono::steady_clock::now() + limits::kControlConnectTimeout;
  for (;;) {
    const int result = SSL_connect(ssl);
    if (result == 1) {
      return absl::OkStatus();
    }
    const int error = SSL_get_error(ssl, result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
      return unavailable(fmt::format("{} does not speak TLS", address));
    }
    const auto left = duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd waiting{fd, static_cast<short>(error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT), 0};
    if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) <= 0) {
      return unavailable(fmt::format("{} did not finish the TLS handshake", address));
    }
  }
}

absl::StatusOr<std::string> der_of(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size <= 0) {
    return invalid_argument("a certificate cannot be read");
  }
  std::string bytes(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return bytes;
}

void set_deadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() +
                       duration_cast<std::chrono::system_clock::duration>(limits::kJoinTimeout));
}

using Call = std::function<grpc::Status(admin::v1::JoinService::Stub&, grpc::ClientContext*,
                                        admin::v1::JoinResponse*)>;

absl::StatusOr<Credentials> call_for_certificate(const ChannelOptions& channel, std::string key_pem,
                                                 CallGuard& guard, const Call& call) {
  const auto stub = admin::v1::JoinService::NewStub(make_channel(channel));
  grpc::ClientContext context;
  set_deadline(context);
  if (!guard.begin(&context)) {
    return cancelled("stopping");
  }
  admin::v1::JoinResponse response;
  const grpc::Status status = call(*stub, &context, &response);
  guard.end();
  SLUICE_RETURN_IF_ERROR(to_status(status));
  SLUICE_RETURN_IF_ERROR(certificate_life(response.certificate_pem()).status());
  SLUICE_RETURN_IF_ERROR(certificate_life(response.ca_pem()).status());
  return Credentials{response.certificate_pem(), std::move(key_pem), response.ca_pem()};
}

}  // namespace

absl::StatusOr<JoinToken> parse_join_token(std::string_view text) {
  constexpr std::string_view kPrefix = "slj1.";
  const absl::Status bad = invalid_argument(
      "not a join token: it begins with slj1. and is printed by `sluicectl join-token create`");
  text = trimmed(text);
  if (!text.starts_with(kPrefix)) {
    return bad;
  }
  const std::optional<std::string> decoded = from_base64url(text.substr(kPrefix.size()));
  if (!decoded) {
    return bad;
  }
  boost::system::error_code error;
  const boost::json::value json = boost::json::parse(*decoded, error);
  const auto* object = error ? nullptr : json.if_object();
  const auto* group = object ? object->if_contains("group") : nullptr;
  const auto* ca = object ? object->if_contains("ca_sha256") : nullptr;
  if (group == nullptr || ca == nullptr || !group->is_string() || !ca->is_string() ||
      !sha256_from_hex(std::string_view(ca->get_string()))) {
    return bad;
  }
  return JoinToken{std::string(group->get_string()), std::string(ca->get_string())};
}

absl::StatusOr<KeyRequest> make_key_request(const std::string& node_id) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const RequestPtr request(X509_REQ_new());
  const BioPtr key_pem(BIO_new(BIO_s_mem()));
  const BioPtr csr_pem(BIO_new(BIO_s_mem()));
  X509_NAME* name = request ? X509_REQ_get_subject_name(request.get()) : nullptr;
  const auto* common_name = reinterpret_cast<const unsigned char*>(node_id.c_str());
  const bool made =
      key && name && key_pem && csr_pem &&
      X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, common_name, -1, -1, 0) == 1 &&
      X509_REQ_set_pubkey(request.get(), key.get()) == 1 &&
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) > 0 &&
      PEM_write_bio_PrivateKey(key_pem.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) ==
          1 &&
      PEM_write_bio_X509_REQ(csr_pem.get(), request.get()) == 1;
  if (!made) {
    ERR_clear_error();
    return internal_error("cannot make a key and a signing request");
  }
  return KeyRequest{text_of(key_pem.get()), text_of(csr_pem.get())};
}

absl::StatusOr<std::string> fetch_ca(const std::string& address, const std::string& ca_sha256) {
  Socket socket;
  SLUICE_RETURN_IF_ERROR(dial(address, socket));
  const ContextPtr context(SSL_CTX_new(TLS_client_method()));
  const SslPtr ssl(SSL_new(context.get()));
  static constexpr unsigned char kAlpn[] = "\x02h2";
  SSL_set_alpn_protos(ssl.get(), kAlpn, sizeof kAlpn - 1);
  SSL_set_verify(ssl.get(), SSL_VERIFY_NONE, nullptr);
  SSL_set_fd(ssl.get(), socket.fd);
  const absl::Status shaken = shake_hands(ssl.get(), socket.fd, address);
  ERR_clear_error();
  SLUICE_RETURN_IF_ERROR(shaken);
  STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl.get());
  for (int i = 0; chain != nullptr && i < sk_X509_num(chain); ++i) {
    X509* certificate = sk_X509_value(chain, i);
    SLUICE_ASSIGN_OR_RETURN(const std::string der, der_of(certificate));
    if (hex(sha256(der)) == ca_sha256) {
      const BioPtr pem(BIO_new(BIO_s_mem()));
      PEM_write_bio_X509(pem.get(), certificate);
      return text_of(pem.get());
    }
  }
  return absl::PermissionDeniedError(to_absl(fmt::format(
      "{} is not the control plane that made the join token: its certificates do not have the "
      "token's fingerprint {}",
      address, ca_sha256)));
}

bool CallGuard::begin(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  context_ = context;
  return !cancelled_;
}

void CallGuard::end() {
  const std::lock_guard lock(mutex_);
  context_ = nullptr;
}

void CallGuard::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (context_ != nullptr) {
    context_->TryCancel();
  }
}

absl::StatusOr<Credentials> join(const std::vector<std::string>& addresses,
                                 const std::string& token, const std::string& node_id,
                                 CallGuard& guard) {
  const std::string text(trimmed(token));
  SLUICE_ASSIGN_OR_RETURN(const JoinToken parsed, parse_join_token(text));
  SLUICE_ASSIGN_OR_RETURN(KeyRequest key, make_key_request(node_id));
  absl::Status last = unavailable("there is no control plane to join");
  for (const std::string& address : addresses) {
    const absl::StatusOr<std::string> ca = fetch_ca(address, parsed.ca_sha256);
    if (!ca.ok()) {
      last = ca.status();
      continue;
    }
    const Credentials trust{"", "", *ca};
    admin::v1::JoinRequest request;
    request.set_join_token(text);
    request.set_node_id(node_id);
    request.set_csr_pem(key.csr_pem);
    absl::StatusOr<Credentials> made =
        call_for_certificate({address, &trust, false}, key.key_pem, guard,
                             [&](auto& stub, auto* context, auto* response) {
                               return stub.Join(context, request, response);
                             });
    // Another control plane would say the same of the token.
    if (made.ok() || made.status().code() != absl::StatusCode::kUnavailable) {
      return made;
    }
    last = made.status();
  }
  return last;
}

absl::StatusOr<Credentials> renew(const std::string& address, const Credentials& present,
                                  const std::string& node_id, bool own_names, CallGuard& guard) {
  SLUICE_ASSIGN_OR_RETURN(KeyRequest key, make_key_request(node_id));
  admin::v1::RenewRequest request;
  request.set_csr_pem(key.csr_pem);
  return call_for_certificate({address, &present, own_names}, std::move(key.key_pem), guard,
                              [&](auto& stub, auto* context, auto* response) {
                                return stub.Renew(context, request, response);
                              });
}

}  // namespace sluice::control
