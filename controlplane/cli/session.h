// Where the control plane is and who we are: flags, then SLUICE_* variables, then the session file
// that `login` writes.
#pragma once

#include <string>

#include "proxy/base/status.h"

namespace sluice::controlplane::cli {

struct Session {
  std::string server = "https://127.0.0.1:9443";
  std::string token;
  std::string ca_pem;  // empty: the system's store
  std::string user;
};

// $SLUICE_SESSION, or sluice/session.json below $XDG_CONFIG_HOME or ~/.config.
std::string session_path();

// The session file (none is no error), overridden by SLUICE_SERVER, SLUICE_TOKEN and SLUICE_CA (a
// file), then by `server` if that is not empty.
absl::StatusOr<Session> load_session(const std::string& server);

// Writes the file with mode 0600, making its folder.
absl::Status save_session(const Session& session);

// The whole file. NOT_FOUND or UNAVAILABLE with the path and why.
absl::StatusOr<std::string> read_file(const std::string& path);

// A secret given as `-` (stdin, one line), `@FILE`, or itself.
absl::StatusOr<std::string> read_secret(const std::string& argument);

// Asks on the terminal, without echo. FAILED_PRECONDITION if there is no terminal.
absl::StatusOr<std::string> ask_secret(const std::string& prompt);
// Asks a yes-or-no question on the terminal; false without one.
bool ask_yes(const std::string& question);

}  // namespace sluice::controlplane::cli
