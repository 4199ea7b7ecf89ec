// What a proxy shows to the control plane: its certificate, kept as PEM files in its data
// directory.
#pragma once

#include <string>

#include "proxy/base/clock.h"
#include "proxy/base/status.h"

namespace sluice::control {

struct Credentials {
  std::string certificate_pem;
  std::string key_pem;
  std::string ca_pem;
};

struct CertificateLife {
  Wall begins{};
  Wall ends{};
};

// Of the first certificate in `pem`.
absl::StatusOr<CertificateLife> certificate_life(const std::string& pem);

// NOT_FOUND names the path.
absl::StatusOr<std::string> read_text(const std::string& path);

// The files tls/proxy.pem, proxy-key.pem and proxy-ca.pem of `data_dir`. NOT_FOUND: this proxy has
// not joined.
absl::StatusOr<Credentials> load_credentials(const std::string& data_dir);
// The directory is made 0700 and the files 0600. The old ones stay whole until the new ones are.
absl::Status save_credentials(const std::string& data_dir, const Credentials& credentials);

// Hash of the join token that the present certificate came from, so that another token can be told.
std::string joined_with(const std::string& data_dir);
absl::Status save_joined_with(const std::string& data_dir, const std::string& token);

}  // namespace sluice::control
