#include "proxy/net/certificate.h"

#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <memory>

#include "proxy/base/encoding.h"
#include "proxy/net/tcp_side.h"
#include "proxy/net/tls_side.h"

namespace sluice::net {
namespace {

std::string name_text(const X509_NAME* name) {
  BIO* bio = BIO_new(BIO_s_mem());
  X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

Wall to_wall(const ASN1_TIME* time) {
  std::tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? Wall(seconds(::timegm(&parts))) : Wall{};
}

std::string_view text_of(const ASN1_STRING* string) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
          static_cast<std::size_t>(ASN1_STRING_length(string))};
}

std::string address_text(std::string_view bytes) {
  sockaddr_storage address{};
  if (bytes.size() == 4) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address);
    v4->sin_family = AF_INET;
    bytes.copy(reinterpret_cast<char*>(&v4->sin_addr), 4);
  } else if (bytes.size() == 16) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address);
    v6->sin6_family = AF_INET6;
    bytes.copy(reinterpret_cast<char*>(&v6->sin6_addr), 16);
  } else {
    return "";
  }
  return to_peer_address(address).ip;
}

std::vector<std::string> names_of(X509* certificate) {
  std::vector<std::string> names;
  auto* list = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(list); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(list, i);
    if (name->type == GEN_DNS || name->type == GEN_URI) {
      names.emplace_back(text_of(name->d.ia5));
    } else if (name->type == GEN_IPADD) {
      names.push_back(address_text(text_of(name->d.iPAddress)));
    }
  }
  GENERAL_NAMES_free(list);
  return names;
}

CertificateInfo describe(X509* certificate) {
  CertificateInfo info;
  info.subject = name_text(X509_get_subject_name(certificate));
  info.issuer = name_text(X509_get_issuer_name(certificate));
  info.names = names_of(certificate);
  info.serial = hex(text_of(X509_get0_serialNumber(certificate)));
  info.not_before = to_wall(X509_get0_notBefore(certificate));
  info.not_after = to_wall(X509_get0_notAfter(certificate));
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size > 0) {
    info.sha256 = hex(sha256({reinterpret_cast<const char*>(der), static_cast<std::size_t>(size)}));
    OPENSSL_free(der);
  }
  return info;
}

}  // namespace

CertificateInfo certificate_info(const TlsServerContext& tls) {
  X509* certificate = SSL_CTX_get0_certificate(tls.get());
  return certificate == nullptr ? CertificateInfo{} : describe(certificate);
}

std::optional<CertificateInfo> verified_peer(const Side& side) {
  const auto* tls = dynamic_cast<const TlsSide*>(&side);
  if (tls == nullptr || (SSL_get_verify_mode(tls->ssl()) & SSL_VERIFY_PEER) == 0 ||
      SSL_get_verify_result(tls->ssl()) != X509_V_OK) {
    return std::nullopt;
  }
  X509* certificate = SSL_get0_peer_certificate(tls->ssl());
  return certificate == nullptr ? std::nullopt : std::optional(describe(certificate));
}

absl::StatusOr<CertificateInfo> certificate_info(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  if (certificate == nullptr) {
    return invalid_argument("the text holds no PEM certificate that parses");
  }
  CertificateInfo info = describe(certificate);
  X509_free(certificate);
  return info;
}

}  // namespace sluice::net
