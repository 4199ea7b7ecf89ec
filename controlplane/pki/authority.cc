#include "controlplane/pki/authority.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <algorithm>

#include "controlplane/pki/files.h"
#include "controlplane/pki/openssl.h"
#include "proxy/base/encoding.h"
#include "proxy/base/limits.h"

namespace sluice::controlplane::pki {
namespace {

constexpr std::string_view kProxyPrefix = "spiffe://sluice/";
constexpr std::string_view kOperatorPrefix = "spiffe://sluice-operator/";
constexpr std::chrono::hours kDay{24};
constexpr nanoseconds kAuthorityLife = kDay * 3653;
constexpr nanoseconds kServerLife = kDay * 730;
// Certificates are valid from a little earlier, for peers whose clocks are behind.
constexpr nanoseconds kBackdate = std::chrono::minutes(5);

time_t seconds_of(Wall wall) {
  return static_cast<time_t>(duration_cast<seconds>(wall.time_since_epoch()).count());
}

Wall wall_of(const ASN1_TIME* time) {
  struct tm parts {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) {
    return Wall{};
  }
  return Wall(seconds(::timegm(&parts)));
}

std::string serial_of(const X509* certificate) {
  const ASN1_INTEGER* number = X509_get0_serialNumber(certificate);
  return hex(std::string_view(reinterpret_cast<const char*>(ASN1_STRING_get0_data(number)),
                              static_cast<std::size_t>(ASN1_STRING_length(number))));
}

bool is_address(const std::string& name) {
  unsigned char bytes[16];
  return ::inet_pton(AF_INET, name.c_str(), bytes) == 1 ||
         ::inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

KeyPtr make_key() { return KeyPtr(EVP_EC_gen("P-256")); }

absl::StatusOr<std::string> private_key_pem(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return openssl_error("cannot write a private key");
  }
  return text_of(bio.get());
}

std::string certificate_text(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  return text_of(bio.get());
}

std::string fingerprint_of(const X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  X509_digest(certificate, EVP_sha256(), digest, &size);
  return hex(std::string_view(reinterpret_cast<char*>(digest), size));
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, Freeing<X509_EXTENSION_free>> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_general_name(GENERAL_NAMES* names, int type, const std::string& value) {
  GENERAL_NAME* name =
      a2i_GENERAL_NAME(nullptr, nullptr, nullptr, type, const_cast<char*>(value.c_str()), 0);
  return name != nullptr && sk_GENERAL_NAME_push(names, name) > 0;
}

bool add_alternative_names(X509* certificate, const Subject& subject) {
  const NamesPtr names(sk_GENERAL_NAME_new_null());
  for (const std::string& name : subject.names) {
    if (!add_general_name(names.get(), is_address(name) ? GEN_IPADD : GEN_DNS, name)) {
      return false;
    }
  }
  if (!subject.uri.empty() && !add_general_name(names.get(), GEN_URI, subject.uri)) {
    return false;
  }
  return sk_GENERAL_NAME_num(names.get()) == 0 ||
         X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, 0) == 1;
}

// 16 bytes, the first of them below 128 so that the number is positive and keeps its length.
bool set_serial(X509* certificate, const std::string& join) {
  std::string bytes = join + random_bytes(16 - join.size());
  if (join.empty()) {
    bytes[0] = static_cast<char>((bytes[0] & 0x3f) | 0x40);
  }
  return ASN1_STRING_set(X509_get_serialNumber(certificate), bytes.data(),
                         static_cast<int>(bytes.size())) == 1;
}

bool set_name(X509_NAME* name, const std::string& text) {
  // A common name holds at most 64 characters; what counts stands in the alternative names.
  const std::string common = text.substr(0, 64);
  return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>("Sluice"), -1, -1,
                                    0) == 1 &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(common.data()),
                                    static_cast<int>(common.size()), -1, 0) == 1;
}

void set_validity(X509* certificate, Wall now, nanoseconds life) {
  ASN1_TIME_set(X509_getm_notBefore(certificate), seconds_of(now - kBackdate));
  ASN1_TIME_set(X509_getm_notAfter(certificate), seconds_of(now + life));
}

absl::StatusOr<CertificatePtr> make_authority(EVP_PKEY* key, Wall now) {
  CertificatePtr certificate(X509_new());
  X509* c = certificate.get();
  X509_set_version(c, X509_VERSION_3);
  set_validity(c, now, kAuthorityLife);
  // A name of its own, so that stores that hold the authorities of two control planes do not mix
  // them up.
  const std::string name = "Sluice CA " + hex(random_bytes(4));
  if (!set_serial(c, "") || !set_name(X509_get_subject_name(c), name) ||
      X509_set_issuer_name(c, X509_get_subject_name(c)) != 1 || X509_set_pubkey(c, key) != 1 ||
      !add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !add_extension(c, c, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(c, c, NID_subject_key_identifier, "hash") ||
      X509_sign(c, key, EVP_sha256()) == 0) {
    return openssl_error("cannot make the certificate authority");
  }
  return certificate;
}

absl::StatusOr<CertificatePtr> make_leaf(EVP_PKEY* public_key, X509* issuer, EVP_PKEY* issuer_key,
                                         const Subject& subject, Wall now) {
  CertificatePtr certificate(X509_new());
  X509* c = certificate.get();
  X509_set_version(c, X509_VERSION_3);
  // A leaf that outlives its authority would only fail later and less clearly.
  set_validity(c, now, std::min(subject.life, wall_of(X509_get0_notAfter(issuer)) - now));
  const std::string& name = subject.uri.empty() ? subject.names.front() : subject.uri;
  if (!set_serial(c, subject.join) || !set_name(X509_get_subject_name(c), name) ||
      X509_set_issuer_name(c, X509_get_subject_name(issuer)) != 1 ||
      X509_set_pubkey(c, public_key) != 1 ||
      !add_extension(c, issuer, NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(c, issuer, NID_key_usage, "critical,digitalSignature") ||
      !add_extension(c, issuer, NID_ext_key_usage, subject.server ? "serverAuth" : "clientAuth") ||
      !add_extension(c, issuer, NID_subject_key_identifier, "hash") ||
      !add_extension(c, issuer, NID_authority_key_identifier, "keyid:always") ||
      !add_alternative_names(c, subject) || X509_sign(c, issuer_key, EVP_sha256()) == 0) {
    return openssl_error("cannot sign a certificate for " + name);
  }
  return certificate;
}

absl::Status check_public_key(EVP_PKEY* key) {
  const int type = EVP_PKEY_get_base_id(key);
  if (type == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= 2048 && EVP_PKEY_get_bits(key) <= 8192) {
    return absl::OkStatus();
  }
  char group[64] = "";
  if (type == EVP_PKEY_EC && EVP_PKEY_get_group_name(key, group, sizeof(group), nullptr) == 1 &&
      (std::string_view(group) == "prime256v1" || std::string_view(group) == "secp384r1")) {
    return absl::OkStatus();
  }
  return invalid_argument(
      "csr_pem: the key must be on P-256 or P-384, or RSA of 2048 bits or more");
}

NamesPtr alternative_names(const X509* certificate) {
  return NamesPtr(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
}

std::string uri_of(const X509* certificate) {
  const NamesPtr names = alternative_names(certificate);
  std::string found;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) {
      continue;
    }
    if (!found.empty()) {
      return "";  // a SPIFFE certificate has exactly one
    }
    const ASN1_STRING* text = name->d.uniformResourceIdentifier;
    found.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                 static_cast<std::size_t>(ASN1_STRING_length(text)));
  }
  return found;
}

bool has_name(X509* certificate, const std::string& name) {
  return is_address(name) ? X509_check_ip_asc(certificate, name.c_str(), 0) == 1
                          : X509_check_host(certificate, name.data(), name.size(), 0, nullptr) == 1;
}

}  // namespace

bool valid_name(std::string_view name) {
  const auto alnum = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= limits::kNameBytesMax && alnum(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return alnum(c) || c == '.' || c == '_' || c == '-'; });
}

absl::StatusOr<Peer> peer_from_certificate(const std::string& certificate_pem) {
  const CertificatePtr certificate = read_certificate(certificate_pem);
  if (certificate == nullptr) {
    return invalid_argument("the client's certificate cannot be read");
  }
  const std::string uri = uri_of(certificate.get());
  const std::string_view text = uri;
  Peer peer;
  peer.serial = serial_of(certificate.get());
  if (text.starts_with(kOperatorPrefix)) {
    peer.kind = Peer::Kind::kOperator;
    peer.name = text.substr(kOperatorPrefix.size());
  } else if (text.starts_with(kProxyPrefix)) {
    const std::string_view rest = text.substr(kProxyPrefix.size());
    const std::size_t slash = rest.find('/');
    peer.kind = Peer::Kind::kProxy;
    peer.group = rest.substr(0, slash);
    peer.name = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
  }
  const bool valid =
      valid_name(peer.name) && (peer.kind != Peer::Kind::kProxy || valid_name(peer.group));
  if (peer.kind == Peer::Kind::kNone || !valid) {
    return invalid_argument(
        "the client's certificate names neither a proxy (spiffe://sluice/GROUP/NODE) nor an "
        "operator "
        "(spiffe://sluice-operator/NAME)");
  }
  return peer;
}

absl::StatusOr<std::string> fingerprint(const std::string& pem) {
  const CertificatePtr certificate = read_certificate(pem);
  if (certificate == nullptr) {
    return invalid_argument("no PEM certificate");
  }
  return fingerprint_of(certificate.get());
}

bool issued_by(const std::string& certificate_pem, const std::string& ca_pem) {
  const CertificatePtr certificate = read_certificate(certificate_pem);
  const CertificatePtr ca = read_certificate(ca_pem);
  const bool issued = certificate != nullptr && ca != nullptr &&
                      X509_verify(certificate.get(), X509_get0_pubkey(ca.get())) == 1;
  ERR_clear_error();
  return issued;
}

bool needs_renewal(const std::string& certificate_pem, const std::string& ca_pem,
                   const std::vector<std::string>& names, Wall now) {
  if (!issued_by(certificate_pem, ca_pem)) {
    return true;
  }
  const CertificatePtr certificate = read_certificate(certificate_pem);
  const Wall begin = wall_of(X509_get0_notBefore(certificate.get()));
  const Wall end = wall_of(X509_get0_notAfter(certificate.get()));
  return now >= begin + (end - begin) / 3 * 2 ||
         !std::all_of(names.begin(), names.end(),
                      [&](const std::string& name) { return has_name(certificate.get(), name); });
}

std::vector<std::string> default_server_names() {
  std::vector<std::string> names = {"localhost", "127.0.0.1", "::1"};
  char host[256] = "";
  if (::gethostname(host, sizeof(host) - 1) == 0 && host[0] != '\0' &&
      std::string_view(host) != "localhost") {
    names.emplace_back(host);
  }
  return names;
}

absl::StatusOr<std::unique_ptr<Authority>> Authority::open(const std::string& directory, Wall now) {
  SLUICE_RETURN_IF_ERROR(make_private_directory(directory));
  const std::string certificate_file = directory + "/ca.pem";
  const std::string key_file = directory + "/ca-key.pem";
  absl::StatusOr<std::string> certificate_pem = read_file(certificate_file);
  absl::StatusOr<std::string> key_pem = read_file(key_file);
  if (absl::IsNotFound(certificate_pem.status()) && absl::IsNotFound(key_pem.status())) {
    const KeyPtr key = make_key();
    SLUICE_ASSIGN_OR_RETURN(const CertificatePtr certificate, make_authority(key.get(), now));
    key_pem = private_key_pem(key.get());
    SLUICE_RETURN_IF_ERROR(key_pem.status());
    certificate_pem = certificate_text(certificate.get());
    SLUICE_RETURN_IF_ERROR(write_file(key_file, *key_pem, 0600));
    SLUICE_RETURN_IF_ERROR(write_file(certificate_file, *certificate_pem, 0644));
  } else if (absl::IsNotFound(certificate_pem.status()) && key_pem.ok()) {
    // The first start was cut off between the two files: nobody has seen this key's certificate.
    SLUICE_RETURN_IF_ERROR(::unlink(key_file.c_str()) == 0
                               ? absl::OkStatus()
                               : unavailable("cannot replace " + key_file));
    return open(directory, now);
  }
  SLUICE_RETURN_IF_ERROR(certificate_pem.status());
  SLUICE_RETURN_IF_ERROR(key_pem.status());
  CertificatePtr certificate = read_certificate(*certificate_pem);
  KeyPtr key = read_private_key(*key_pem);
  if (certificate == nullptr || key == nullptr ||
      X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return failed_precondition(
        fmt::format("{} and {} are not a certificate and its key; restore them from a backup, or "
                    "remove both for a new authority (every proxy must then join again)",
                    certificate_file, key_file));
  }
  std::unique_ptr<Authority> authority(new Authority());
  authority->directory_ = directory;
  authority->certificate_pem_ = certificate_text(certificate.get());
  authority->fingerprint_ = fingerprint_of(certificate.get());
  authority->certificate_ = certificate.release();
  authority->key_ = key.release();
  return authority;
}

Authority::~Authority() {
  X509_free(certificate_);
  EVP_PKEY_free(key_);
}

absl::StatusOr<KeyPair> Authority::issue(const Subject& subject, Wall now) const {
  const KeyPtr key = make_key();
  SLUICE_ASSIGN_OR_RETURN(const CertificatePtr certificate,
                          make_leaf(key.get(), certificate_, key_, subject, now));
  KeyPair pair;
  SLUICE_ASSIGN_OR_RETURN(pair.private_key_pem, private_key_pem(key.get()));
  pair.certificate_pem = certificate_text(certificate.get()) + certificate_pem_;
  return pair;
}

absl::StatusOr<std::string> Authority::sign(const std::string& csr_pem, const Subject& subject,
                                            Wall now) const {
  const BioPtr bio = bio_of(csr_pem);
  const RequestPtr request(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
  EVP_PKEY* key = request == nullptr ? nullptr : X509_REQ_get0_pubkey(request.get());
  if (key == nullptr || X509_REQ_verify(request.get(), key) != 1) {
    ERR_clear_error();
    return invalid_argument("csr_pem: no certificate signing request with a valid signature");
  }
  SLUICE_RETURN_IF_ERROR(check_public_key(key));
  SLUICE_ASSIGN_OR_RETURN(const CertificatePtr certificate,
                          make_leaf(key, certificate_, key_, subject, now));
  return certificate_text(certificate.get()) + certificate_pem_;
}

absl::StatusOr<KeyPair> Authority::server_certificate(const std::vector<std::string>& names,
                                                      Wall now) const {
  const std::string certificate_file = directory_ + "/server.pem";
  const std::string key_file = directory_ + "/server-key.pem";
  absl::StatusOr<std::string> certificate = read_file(certificate_file);
  absl::StatusOr<std::string> key = read_file(key_file);
  if (certificate.ok() && key.ok() && !needs_renewal(*certificate, certificate_pem_, names, now)) {
    const CertificatePtr parsed = read_certificate(*certificate);
    const KeyPtr parsed_key = read_private_key(*key);
    // They may differ when a renewal was cut off between the two files.
    if (parsed_key != nullptr && X509_check_private_key(parsed.get(), parsed_key.get()) == 1) {
      return KeyPair{*certificate, *key};
    }
    ERR_clear_error();
  }
  const Subject subject{.names = names, .uri = "", .join = "", .server = true, .life = kServerLife};
  SLUICE_ASSIGN_OR_RETURN(KeyPair pair, issue(subject, now));
  SLUICE_RETURN_IF_ERROR(write_file(key_file, pair.private_key_pem, 0600));
  SLUICE_RETURN_IF_ERROR(write_file(certificate_file, pair.certificate_pem, 0644));
  return pair;
}

}  // namespace sluice::controlplane::pki
