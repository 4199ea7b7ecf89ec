#include "proxy/telemetry/names.h"

namespace sluice::telemetry {

std::string_view part_name(Part part) {
  switch (part) {
    case Part::kInterim:
      return "INTERIM";
    case Part::kFinal:
      return "FINAL";
    case Part::kRecovered:
      return "RECOVERED";
    case Part::kRefused:
      return "REFUSED";
  }
  return "";
}

std::string_view close_side_name(CloseSide side) {
  switch (side) {
    case CloseSide::kNone:
      return "";
    case CloseSide::kClient:
      return "CLIENT";
    case CloseSide::kBackend:
      return "BACKEND";
    case CloseSide::kProxy:
      return "PROXY";
  }
  return "";
}

std::string_view key_type_name(model::KeyType type) {
  return type == model::KeyType::kSandbox ? "SANDBOX" : "PRODUCTION";
}

}  // namespace sluice::telemetry
