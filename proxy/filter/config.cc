#include "proxy/filter/config.h"

#include <fmt/format.h>

#include <string_view>

#include "google/protobuf/util/json_util.h"

namespace sluice::filter {
namespace {

// Protobuf says "(limits.burst): Cannot find field." or "invalid name x: Cannot find field.": the
// path in parentheses and the field's name may stand apart.
std::string readable(std::string_view text) {
  std::string out(text);
  if (constexpr std::string_view kPrefix = "INVALID_ARGUMENT:"; out.rfind(kPrefix, 0) == 0) {
    out.erase(0, kPrefix.size());
  }
  return out;
}

}  // namespace

absl::Status decode_config(const google::protobuf::Struct& config,
                           google::protobuf::Message& message) {
  std::string json;
  if (const auto status = google::protobuf::util::MessageToJsonString(config, &json);
      !status.ok()) {
    return invalid_argument("config is not a JSON object");
  }
  const auto status = google::protobuf::util::JsonStringToMessage(json, &message);
  if (!status.ok()) {
    const auto text = status.message();
    return invalid_argument(
        fmt::format("config: {}", readable(std::string_view(text.data(), text.size()))));
  }
  return absl::OkStatus();
}

}  // namespace sluice::filter
