// What sluice-control is told by its command line and its configuration file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proxy/base/status.h"

namespace sluice::controlplane {

struct Address {
  std::string ip;  // without brackets
  std::uint16_t port = 0;

  bool loopback() const;
  std::string text() const;  // 127.0.0.1:9443, [::]:9443
};

// ADDR:PORT with a literal address, an IPv6 one in brackets; port 0 takes a free one.
absl::StatusOr<Address> parse_address(std::string_view text);

struct Options {
  std::string data_dir = "sluice-control-data";
  std::string database = "sqlite";
  Address http{"127.0.0.1", 9443};
  std::optional<Address> open;  // `--public`
  Address grpc{"127.0.0.1", 9444};
  std::string tls_cert;
  std::string tls_key;
  std::string portal;
  bool insecure_plaintext = false;
  bool reset_admin_password = false;
};

// Either options or an exit status, everything that is to be said printed already.
struct Parsed {
  std::optional<Options> options;
  int exit_status = 0;
};

// Flags override the file that `--config` names.
Parsed parse_options(int argc, const char* const* argv);

// Takes over what the YAML text says. Faults are FILE:LINE: FIELD: what is wrong, all of them.
absl::Status apply_config(const std::string& text, const std::string& file, Options& options);

// What the options say together: files that exist, a database that is served.
absl::Status check_options(const Options& options);

}  // namespace sluice::controlplane
