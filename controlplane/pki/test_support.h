// For the tests of this room and of those that speak to it.
#pragma once

#include <filesystem>
#include <string>

#include "controlplane/pki/openssl.h"
#include "proxy/base/encoding.h"

namespace sluice::controlplane::pki {

// Removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory()
      : path_(std::filesystem::temp_directory_path() / ("sluice-test-" + hex(random_bytes(8)))) {
    std::filesystem::create_directory(path_);
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  std::string path() const { return path_.string(); }

 private:
  const std::filesystem::path path_;
};

// A PEM signing request of a new key on that curve; asks for `uri` unless it is empty.
inline std::string make_csr(const char* curve, const std::string& uri = "") {
  const KeyPtr key(EVP_EC_gen(curve));
  const RequestPtr request(X509_REQ_new());
  X509_REQ_set_pubkey(request.get(), key.get());
  if (!uri.empty()) {
    STACK_OF(X509_EXTENSION)* extensions = sk_X509_EXTENSION_new_null();
    sk_X509_EXTENSION_push(extensions, X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name,
                                                           ("URI:" + uri).c_str()));
    X509_REQ_add_extensions(request.get(), extensions);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  }
  X509_REQ_sign(request.get(), key.get(), EVP_sha256());
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509_REQ(bio.get(), request.get());
  return text_of(bio.get());
}

// Whether the first certificate of `chain` is good under `ca` by OpenSSL's own full check.
inline bool verifies(const std::string& chain, const std::string& ca) {
  const CertificatePtr leaf = read_certificate(chain);
  const CertificatePtr root = read_certificate(ca);
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, root.get());
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, leaf.get(), nullptr);
  const bool good = X509_verify_cert(context) == 1;
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  return good;
}

}  // namespace sluice::controlplane::pki
