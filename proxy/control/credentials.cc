#include "proxy/control/credentials.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "proxy/base/encoding.h"

namespace sluice::control {

namespace {

constexpr const char* kCertificate = "proxy.pem";
constexpr const char* kKey = "proxy-key.pem";
constexpr const char* kCa = "proxy-ca.pem";
constexpr const char* kJoinedWith = "joined-with";

std::string tls_path(const std::string& data_dir, const char* name) {
  return fmt::format("{}/tls/{}", data_dir, name);
}

absl::Status file_error(std::string_view what, const std::string& path) {
  return failed_precondition(fmt::format("cannot {} {}: {}", what, path, std::strerror(errno)));
}

// Written beside, synced, renamed.
absl::Status write_private(const std::string& path, const std::string& text) {
  const std::string beside = path + ".new";
  const int fd = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    return file_error("write", beside);
  }
  const bool whole = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                     ::fchmod(fd, 0600) == 0 && ::fsync(fd) == 0;
  const absl::Status error = whole ? absl::OkStatus() : file_error("write", beside);
  ::close(fd);
  SLUICE_RETURN_IF_ERROR(error);
  return ::rename(beside.c_str(), path.c_str()) == 0 ? absl::OkStatus()
                                                     : file_error("replace", path);
}

absl::StatusOr<Wall> to_wall(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) {
    return invalid_argument("a certificate's time cannot be read");
  }
  return Wall(seconds(::timegm(&parts)));
}

}  // namespace

absl::StatusOr<CertificateLife> certificate_life(const std::string& pem) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
  if (certificate == nullptr) {
    return invalid_argument("not a PEM certificate");
  }
  CertificateLife life;
  SLUICE_ASSIGN_OR_RETURN(life.begins, to_wall(X509_get0_notBefore(certificate.get())));
  SLUICE_ASSIGN_OR_RETURN(life.ends, to_wall(X509_get0_notAfter(certificate.get())));
  return life;
}

absl::StatusOr<std::string> read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return not_found(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  }
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

absl::StatusOr<Credentials> load_credentials(const std::string& data_dir) {
  Credentials credentials;
  SLUICE_ASSIGN_OR_RETURN(credentials.certificate_pem, read_text(tls_path(data_dir, kCertificate)));
  SLUICE_ASSIGN_OR_RETURN(credentials.key_pem, read_text(tls_path(data_dir, kKey)));
  SLUICE_ASSIGN_OR_RETURN(credentials.ca_pem, read_text(tls_path(data_dir, kCa)));
  return credentials;
}

absl::Status save_credentials(const std::string& data_dir, const Credentials& credentials) {
  std::error_code error;
  const std::string directory = data_dir + "/tls";
  std::filesystem::create_directories(directory, error);
  if (error) {
    return failed_precondition(fmt::format("cannot make {}: {}", directory, error.message()));
  }
  std::filesystem::permissions(directory, std::filesystem::perms::owner_all, error);
  // The certificate last: without it the others count for nothing. A crash between a new key and
  // its certificate leaves a pair that the control plane refuses, and joining anew mends.
  SLUICE_RETURN_IF_ERROR(write_private(tls_path(data_dir, kCa), credentials.ca_pem));
  SLUICE_RETURN_IF_ERROR(write_private(tls_path(data_dir, kKey), credentials.key_pem));
  return write_private(tls_path(data_dir, kCertificate), credentials.certificate_pem);
}

std::string joined_with(const std::string& data_dir) {
  const absl::StatusOr<std::string> text = read_text(tls_path(data_dir, kJoinedWith));
  return text.ok() ? *text : "";
}

absl::Status save_joined_with(const std::string& data_dir, const std::string& token) {
  return write_private(tls_path(data_dir, kJoinedWith), hex(sha256(token)));
}

}  // namespace sluice::control
