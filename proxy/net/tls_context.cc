#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstring>
#include <map>
#include <mutex>
#include <string_view>

#include "proxy/base/check.h"
#include "proxy/base/limits.h"
#include "proxy/net/certificate.h"
#include "proxy/net/tls.h"
#include "proxy/net/tls_side.h"

namespace sluice::net {
namespace {

struct Free {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using BioPtr = std::unique_ptr<BIO, Free>;
using X509Ptr = std::unique_ptr<X509, Free>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Free>;

constexpr unsigned char kAlpn[] = "\x08http/1.1";
constexpr unsigned int kAlpnSize = sizeof(kAlpn) - 1;

BioPtr to_bio(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// Instead of OpenSSL's own, which asks at the terminal.
int no_password(char*, int, int, void*) { return 0; }

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* in, unsigned int in_size, void*) {
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kAlpn, kAlpnSize, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

SSL_CTX* make_context(const SSL_METHOD* method) {
  SSL_CTX* context = SSL_CTX_new(method);
  SLUICE_CHECK(context != nullptr);
  SLUICE_CHECK(SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1);
  SLUICE_CHECK(SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1);
  SLUICE_CHECK(SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") == 1);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

absl::StatusOr<std::vector<X509Ptr>> read_certificates(const std::string& pem,
                                                       std::string_view what) {
  std::vector<X509Ptr> list;
  const BioPtr bio = to_bio(pem);
  ERR_clear_error();
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, no_password, nullptr)) {
    list.emplace_back(certificate);
  }
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  // The end of the text is reported as "no start line"; anything else is a broken certificate.
  if (list.empty() || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return invalid_argument(fmt::format(
        "{} is not a list of PEM certificates{}", what,
        list.empty() ? "" : fmt::format(": number {} does not parse", list.size() + 1)));
  }
  return list;
}

absl::Status trust(SSL_CTX* context, const std::string& ca_pem, std::string_view what) {
  SLUICE_ASSIGN_OR_RETURN(const auto list, read_certificates(ca_pem, what));
  for (const X509Ptr& certificate : list) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate.get());
  }
  return absl::OkStatus();
}

absl::Status use_certificate(SSL_CTX* context, const std::string& certificate_pem,
                             const std::string& key_pem) {
  SLUICE_ASSIGN_OR_RETURN(const auto chain, read_certificates(certificate_pem, "the certificate"));
  const BioPtr key_bio = to_bio(key_pem);
  const KeyPtr key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, no_password, nullptr));
  ERR_clear_error();
  if (key == nullptr) {
    return invalid_argument("the private key is not PEM, or is protected by a password");
  }
  if (SSL_CTX_use_certificate(context, chain.front().get()) != 1) {
    return invalid_argument("the certificate is of a kind or size that TLS does not take");
  }
  for (std::size_t i = 1; i < chain.size(); ++i) {
    SSL_CTX_add1_chain_cert(context, chain[i].get());
  }
  if (X509_check_private_key(chain.front().get(), key.get()) != 1 ||
      SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
    ERR_clear_error();
    return invalid_argument("the private key does not belong to the first certificate");
  }
  return absl::OkStatus();
}

absl::Status ask_for_certificate(SSL_CTX* context, const std::string& client_ca_pem,
                                 ClientCertificates clients = ClientCertificates::kRequired) {
  SLUICE_ASSIGN_OR_RETURN(const auto list, read_certificates(client_ca_pem, "the client CA"));
  for (const X509Ptr& certificate : list) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate.get());
    SSL_CTX_add_client_CA(context, certificate.get());
  }
  const bool required = clients == ClientCertificates::kRequired;
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                     nullptr);
  return absl::OkStatus();
}

// Chain and key of the other context, which keep their owners.
void show_certificate(SSL_CTX* context, SSL_CTX* of) {
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(of, &chain);
  SLUICE_CHECK(SSL_CTX_use_cert_and_key(context, SSL_CTX_get0_certificate(of),
                                        SSL_CTX_get0_privatekey(of), chain, 1) == 1);
}

SSL_CTX* make_server_context() {
  SSL_CTX* context = make_context(TLS_server_method());
  SSL_CTX_set_num_tickets(context, 1);  // the default of two costs 15 % of a handshake
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  constexpr std::string_view kId = "sluice";
  SSL_CTX_set_session_id_context(context, as_bytes(kId).data(), kId.size());
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  return context;
}

SSL_CTX* make_client_context() {
  SSL_CTX* context = make_context(TLS_client_method());
  SSL_CTX_set_alpn_protos(context, kAlpn, kAlpnSize);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
  SSL_CTX_sess_set_new_cb(context, TlsSide::on_new_session);
  return context;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TlsServerContext>> TlsServerContext::create(
    const std::string& certificate_pem, const std::string& key_pem,
    const std::string& client_ca_pem) {
  SSL_CTX* context = make_server_context();
  std::shared_ptr<const TlsServerContext> result(new TlsServerContext(context));
  SLUICE_RETURN_IF_ERROR(use_certificate(context, certificate_pem, key_pem));
  if (!client_ca_pem.empty()) {
    SLUICE_RETURN_IF_ERROR(ask_for_certificate(context, client_ca_pem));
  }
  return result;
}

namespace {

// A new reference to each; the server's settings are all set again.
absl::StatusOr<SSL_CTX*> copy_certificate(const TlsServerContext& from, ClientCertificates clients,
                                          const std::string& client_ca_pem) {
  SSL_CTX* copy = make_server_context();
  SSL_CTX_use_certificate(copy, SSL_CTX_get0_certificate(from.get()));
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(from.get(), &chain);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    SSL_CTX_add1_chain_cert(copy, sk_X509_value(chain, i));
  }
  SSL_CTX_use_PrivateKey(copy, SSL_CTX_get0_privatekey(from.get()));
  if (clients != ClientCertificates::kNone) {
    const absl::Status status = ask_for_certificate(copy, client_ca_pem, clients);
    if (!status.ok()) {
      SSL_CTX_free(copy);
      return status;
    }
  }
  return copy;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  return out;
}

}  // namespace

struct TlsServerContext::Names {
  ~Names() {
    for (SSL_CTX* context : others) {
      SSL_CTX_free(context);
    }
  }
  // OpenSSL's callback, while the ClientHello is worked on.
  static int choose(SSL* ssl, int*, void* self) {
    const char* asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (asked == nullptr) {
      return SSL_TLSEXT_ERR_OK;
    }
    const std::map<std::string, SSL_CTX*>& by_name = static_cast<Names*>(self)->by_name;
    const std::string name = lower(asked);
    auto found = by_name.find(name);
    if (found == by_name.end() && name.find('.') != std::string::npos) {
      found = by_name.find("*" + name.substr(name.find('.')));
    }
    if (found != by_name.end()) {
      SSL_set_SSL_CTX(ssl, found->second);
    }
    return SSL_TLSEXT_ERR_OK;
  }

  std::vector<SSL_CTX*> others;             // owned
  std::map<std::string, SSL_CTX*> by_name;  // lower case; a wildcard as it stands: *.example.com
};

TlsServerContext::TlsServerContext(SSL_CTX* context) : context_(context) {}

absl::StatusOr<std::shared_ptr<const TlsServerContext>> TlsServerContext::combine(
    const std::vector<std::shared_ptr<const TlsServerContext>>& contexts,
    ClientCertificates clients, const std::string& client_ca_pem) {
  SLUICE_ASSIGN_OR_RETURN(SSL_CTX * first,
                          copy_certificate(*contexts.front(), clients, client_ca_pem));
  std::shared_ptr<TlsServerContext> result(new TlsServerContext(first));
  result->names_ = std::make_unique<Names>();
  Names& names = *result->names_;
  for (const auto& context : contexts) {
    SSL_CTX* shown = first;
    if (context != contexts.front()) {
      SLUICE_ASSIGN_OR_RETURN(shown, copy_certificate(*context, clients, client_ca_pem));
      names.others.push_back(shown);
    }
    for (const std::string& name : certificate_info(*context).names) {
      names.by_name.emplace(lower(name), shown);  // the first that is for a name keeps it
    }
  }
  SSL_CTX_set_tlsext_servername_callback(first, Names::choose);
  SSL_CTX_set_tlsext_servername_arg(first, &names);
  return std::shared_ptr<const TlsServerContext>(std::move(result));
}

TlsServerContext::~TlsServerContext() { SSL_CTX_free(context_); }

struct TlsClientContext::Sessions {
  ~Sessions() {
    for (auto& [peer, session] : of_peer) {
      SSL_SESSION_free(session);
    }
  }
  std::mutex mutex;  // guards of_peer; taken in handshakes only
  std::map<std::string, SSL_SESSION*> of_peer;
};

TlsClientContext::TlsClientContext(SSL_CTX* context)
    : context_(context), sessions_(std::make_unique<Sessions>()) {}

TlsClientContext::~TlsClientContext() { SSL_CTX_free(context_); }

absl::StatusOr<std::shared_ptr<const TlsClientContext>> TlsClientContext::create(
    const std::string& ca_pem) {
  Options options;
  options.ca_pem = ca_pem;
  return create(std::move(options));
}

absl::StatusOr<std::shared_ptr<const TlsClientContext>> TlsClientContext::create(Options options) {
  SSL_CTX* context = make_client_context();
  std::shared_ptr<TlsClientContext> result(new TlsClientContext(context));
  result->subject_names_ = std::move(options.subject_names);
  if (options.ca_pem.empty()) {
    SSL_CTX_set_default_verify_paths(context);
  } else {
    SLUICE_RETURN_IF_ERROR(trust(context, options.ca_pem, "the CA"));
  }
  if (options.identity != nullptr) {
    show_certificate(context, options.identity->get());
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  return result;
}

std::shared_ptr<const TlsClientContext> TlsClientContext::create_unverified() {
  SSL_CTX* context = make_client_context();
  SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nullptr);
  return std::shared_ptr<const TlsClientContext>(new TlsClientContext(context));
}

// Copies, so that no two connections (of two threads, perhaps) ever share a session object.
SSL_SESSION* TlsClientContext::take_session(const std::string& peer) const {
  const std::lock_guard<std::mutex> lock(sessions_->mutex);
  const auto it = sessions_->of_peer.find(peer);
  return it == sessions_->of_peer.end() ? nullptr : SSL_SESSION_dup(it->second);
}

void TlsClientContext::keep_session(const std::string& peer, SSL_SESSION* session) const {
  const std::lock_guard<std::mutex> lock(sessions_->mutex);
  if (sessions_->of_peer.size() >= limits::kTlsSessionsMax &&
      sessions_->of_peer.find(peer) == sessions_->of_peer.end()) {
    SSL_SESSION_free(session);
    return;
  }
  SSL_SESSION*& slot = sessions_->of_peer[peer];
  SSL_SESSION_free(slot);
  slot = session;
}

}  // namespace sluice::net
