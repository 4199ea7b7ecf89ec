#include "proxy/filter/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "google/protobuf/util/json_util.h"

namespace sluice::filter {
namespace {

// Protobuf says "(limits[1]) burst: Cannot find field." and "(number): invalid value ...": the path
// of what holds the field, then perhaps the field, then the fault.
std::string readable(std::string_view text) {
  std::string path = "config";
  if (!text.empty() && text.front() == '(') {
    const std::size_t end = text.find(')');
    path += fmt::format(".{}", text.substr(1, end - 1));
    text.remove_prefix(end + 1);
  }
  constexpr std::string_view kUnknown = ": Cannot find field.";
  if (const std::size_t at = text.find(kUnknown); at != std::string_view::npos) {
    std::string_view field = text.substr(0, at);
    field.remove_prefix(std::min(field.find_first_not_of(' '), field.size()));
    return fmt::format("{}.{}: there is no such field", path, field);
  }
  if (text.rfind(": ", 0) == 0) {
    text.remove_prefix(2);
  }
  return fmt::format("{}: {}", path, text);
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
    return invalid_argument(readable(std::string_view(text.data(), text.size())));
  }
  return absl::OkStatus();
}

}  // namespace sluice::filter
