// What a kind and its fields mean, from the comments of config.proto, which is built in.
#pragma once

#include <string>
#include <string_view>

#include "proxy/base/status.h"

namespace sluice::controlplane::cli {

// KIND or KIND.FIELD[.FIELD...]; fields as in YAML. NOT_FOUND lists what there is.
absl::StatusOr<std::string> explain(std::string_view path);

// The text of proto/sluice/config/v1/config.proto.
std::string_view config_proto();

}  // namespace sluice::controlplane::cli
