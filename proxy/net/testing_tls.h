// Certificates for tests, made by OpenSSL. Not part of any program.
#pragma once

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <string>

#include "proxy/base/check.h"

namespace sluice::net::testing {

// PEM. P-256, valid for an hour.
struct Certificate {
  std::string certificate;
  std::string key;
};

inline std::string drain(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

inline void extend(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  SLUICE_CHECK(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// `names`: as in a configuration, e.g. "DNS:localhost,IP:127.0.0.1"; empty: a CA. `issuer` null:
// self-signed. `seconds_valid` may be negative: expired.
inline Certificate make_certificate(const std::string& common_name, const std::string& names,
                                    const Certificate* issuer = nullptr,
                                    long seconds_valid = 3600) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  static long serial = 1;
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -7200);
  X509_gmtime_adj(X509_getm_notAfter(certificate), seconds_valid);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
                             0);
  X509* issuer_certificate = certificate;
  EVP_PKEY* issuer_key = key;
  if (issuer != nullptr) {
    BIO* bio = BIO_new_mem_buf(issuer->certificate.data(), -1);
    issuer_certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    bio = BIO_new_mem_buf(issuer->key.data(), -1);
    issuer_key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
  }
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer_certificate));
  extend(certificate, issuer_certificate, NID_basic_constraints,
         names.empty() ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (!names.empty()) {
    extend(certificate, issuer_certificate, NID_subject_alt_name, names);
  }
  SLUICE_CHECK(X509_sign(certificate, issuer_key, EVP_sha256()) > 0);

  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  Certificate result;
  result.certificate = drain(bio);
  bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  result.key = drain(bio);
  if (issuer != nullptr) {
    X509_free(issuer_certificate);
    EVP_PKEY_free(issuer_key);
  }
  X509_free(certificate);
  EVP_PKEY_free(key);
  return result;
}

}  // namespace sluice::net::testing
