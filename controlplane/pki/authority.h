// The control plane's own certificate authority: made at first start, kept in DATA/tls, signs what
// the planes show each other. ECDSA P-256 throughout.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/status.h"

typedef struct x509_st X509;
typedef struct evp_pkey_st EVP_PKEY;

namespace sluice::controlplane::pki {

// PEM. The chain has the leaf first and the CA's certificate last, so that a peer that knows the
// CA's fingerprint alone can check it.
struct KeyPair {
  std::string certificate_pem;
  std::string private_key_pem;
};

// What a client certificate says of its holder.
struct Peer {
  enum class Kind { kNone, kProxy, kOperator };
  Kind kind = Kind::kNone;
  std::string group;   // kProxy
  std::string name;    // the node id, or the operator's name
  std::string serial;  // lower-case hex; its first half is the join that it goes back to
};

// What a certificate is for.
struct Subject {
  std::vector<std::string> names;  // DNS names and IP addresses
  std::string uri;                 // empty: none
  std::string join;                // 8 bytes that begin the serial; empty: random
  bool server = false;             // else client
  nanoseconds life{};
};

// Reads the holder from the URI of a certificate that TLS has already verified: INVALID_ARGUMENT if
// it is none of `spiffe://sluice/GROUP/NODE` and `spiffe://sluice-operator/NAME`.
absl::StatusOr<Peer> peer_from_certificate(const std::string& certificate_pem);

// Lower-case hex SHA-256 of the DER form of the first certificate in `pem`.
absl::StatusOr<std::string> fingerprint(const std::string& pem);

// Whether `certificate_pem` should be made anew: two thirds of its life are over, or it lacks one
// of `names`, or it is not issued_by() that authority, or cannot be read.
bool needs_renewal(const std::string& certificate_pem, const std::string& ca_pem,
                   const std::vector<std::string>& names, Wall now);

// Whether it was signed by the first certificate in `ca_pem`.
bool issued_by(const std::string& certificate_pem, const std::string& ca_pem);

// localhost, 127.0.0.1, ::1 and the machine's host name.
std::vector<std::string> default_server_names();

// Whether `name` may stand in a resource's name and in a certificate's URI.
bool valid_name(std::string_view name);

// Immutable after open(); any thread.
class Authority {
 public:
  // Reads `directory`/ca.pem and ca-key.pem, making directory (0700), key (0600) and certificate
  // (10 years) where none is. Errors name the file.
  static absl::StatusOr<std::unique_ptr<Authority>> open(const std::string& directory, Wall now);
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  const std::string& certificate_pem() const { return certificate_pem_; }
  // Lower-case hex SHA-256 of the certificate's DER form: what a join token carries.
  const std::string& fingerprint() const { return fingerprint_; }

  // A new key and a certificate for it.
  absl::StatusOr<KeyPair> issue(const Subject& subject, Wall now) const;

  // A certificate for the public key of a PEM signing request, whose own signature must verify; of
  // the request nothing else is used. P-256 and P-384 keys, and RSA of 2048 bits and more.
  absl::StatusOr<std::string> sign(const std::string& csr_pem, const Subject& subject,
                                   Wall now) const;

  // `directory`/server.pem and server-key.pem, made anew when needs_renewal().
  absl::StatusOr<KeyPair> server_certificate(const std::vector<std::string>& names, Wall now) const;

 private:
  Authority() = default;

  std::string directory_;
  std::string certificate_pem_;
  std::string fingerprint_;
  X509* certificate_ = nullptr;
  EVP_PKEY* key_ = nullptr;
};

}  // namespace sluice::controlplane::pki
