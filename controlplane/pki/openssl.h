// OpenSSL's objects with owners. For this folder's sources only.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "proxy/base/status.h"

namespace sluice::controlplane::pki {

template <auto Free>
struct Freeing {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};

using BioPtr = std::unique_ptr<BIO, Freeing<BIO_free_all>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freeing<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Freeing<X509_free>>;
using RequestPtr = std::unique_ptr<X509_REQ, Freeing<X509_REQ_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, Freeing<GENERAL_NAMES_free>>;

// OpenSSL's newest reason, and its queue emptied.
inline absl::Status openssl_error(std::string what) {
  char reason[256] = "no reason given";
  if (const unsigned long code = ERR_peek_last_error(); code != 0) {
    ERR_error_string_n(code, reason, sizeof(reason));
  }
  ERR_clear_error();
  return internal_error(what + ": " + reason);
}

inline BioPtr bio_of(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

inline std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

// Null where there is none; never asks for a pass phrase.
inline CertificatePtr read_certificate(std::string_view pem) {
  const BioPtr bio = bio_of(pem);
  char none[] = "";
  CertificatePtr certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, none));
  ERR_clear_error();
  return certificate;
}

inline KeyPtr read_private_key(std::string_view pem) {
  const BioPtr bio = bio_of(pem);
  char none[] = "";
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, none));
  ERR_clear_error();
  return key;
}

}  // namespace sluice::controlplane::pki
