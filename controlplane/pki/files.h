// Small files that must be there whole or not at all.
#pragma once

#include <string>
#include <string_view>

#include "proxy/base/status.h"

namespace sluice::controlplane::pki {

// The directory, 0700, with those above it. An existing one that others may enter is closed to
// them.
absl::Status make_private_directory(const std::string& path);

// Replaces `path` by a file of that content and mode: written beside, synced, renamed.
absl::Status write_file(const std::string& path, std::string_view content, unsigned mode);

// NOT_FOUND names the path.
absl::StatusOr<std::string> read_file(const std::string& path);

}  // namespace sluice::controlplane::pki
