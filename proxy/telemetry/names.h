// The names of enumerators in JSON, as sluice.telemetry.v1 and sluice.config.v1 spell them.
#pragma once

#include <string_view>

#include "proxy/telemetry/record.h"

namespace sluice::telemetry {

std::string_view part_name(Part part);
std::string_view close_side_name(CloseSide side);  // empty for kNone
std::string_view key_type_name(model::KeyType type);

}  // namespace sluice::telemetry
