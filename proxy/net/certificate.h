// What people want to know of a certificate.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/status.h"
#include "proxy/net/tls.h"

namespace sluice::net {

struct CertificateInfo {
  std::string subject;             // RFC 2253, e.g. CN=localhost
  std::string issuer;              // the same
  std::vector<std::string> names;  // DNS names, addresses and URIs it is for
  std::string serial;              // hex
  std::string sha256;              // of the DER form, lower-case hex
  Wall not_before{};
  Wall not_after{};
};

// The leaf that a server shows.
CertificateInfo certificate_info(const TlsServerContext& tls);
// The peer's leaf, if it showed one and that was verified.
std::optional<CertificateInfo> verified_peer(const Side& side);
// The first certificate of a PEM text.
absl::StatusOr<CertificateInfo> certificate_info(const std::string& pem);

}  // namespace sluice::net
