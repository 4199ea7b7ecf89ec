#include "controlplane/http/connect.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <boost/json.hpp>

namespace sluice::controlplane::http {
namespace {

struct Code {
  absl::StatusCode status;
  std::string_view name;
  int http;
};

constexpr Code kCodes[] = {
    {absl::StatusCode::kCancelled, "canceled", 499},
    {absl::StatusCode::kUnknown, "unknown", 500},
    {absl::StatusCode::kInvalidArgument, "invalid_argument", 400},
    {absl::StatusCode::kDeadlineExceeded, "deadline_exceeded", 504},
    {absl::StatusCode::kNotFound, "not_found", 404},
    {absl::StatusCode::kAlreadyExists, "already_exists", 409},
    {absl::StatusCode::kPermissionDenied, "permission_denied", 403},
    {absl::StatusCode::kResourceExhausted, "resource_exhausted", 429},
    {absl::StatusCode::kFailedPrecondition, "failed_precondition", 400},
    {absl::StatusCode::kAborted, "aborted", 409},
    {absl::StatusCode::kOutOfRange, "out_of_range", 400},
    {absl::StatusCode::kUnimplemented, "unimplemented", 501},
    {absl::StatusCode::kInternal, "internal", 500},
    {absl::StatusCode::kUnavailable, "unavailable", 503},
    {absl::StatusCode::kDataLoss, "data_loss", 500},
    {absl::StatusCode::kUnauthenticated, "unauthenticated", 401},
};

const Code& code_of(absl::StatusCode status) {
  for (const Code& code : kCodes) {
    if (code.status == status) {
      return code;
    }
  }
  return kCodes[1];
}

// protobuf says `(api.spec) contxt: Cannot find field.`, `(api.name): invalid value 5 for type
// ...`, or for what is no JSON a reason, the line, and a mark under it.
std::string reword(std::string_view text) {
  constexpr std::string_view kUnknown = ": Cannot find field.";
  const std::string_view line = text.substr(0, text.find('\n'));
  const std::size_t close = line.find(')');
  const bool placed = line.starts_with('(') && close != std::string_view::npos;
  const std::string_view place = placed ? line.substr(1, close - 1) : "";
  const std::string_view rest = placed ? line.substr(close + 1) : line;
  if (rest.ends_with(kUnknown)) {
    std::string_view field = rest.substr(0, rest.size() - kUnknown.size());
    field.remove_prefix(field.starts_with(' ') ? 1 : 0);
    return fmt::format("{}{}{}: there is no such field", place, place.empty() ? "" : ".", field);
  }
  return placed ? fmt::format("{}{}", place, rest)
                : fmt::format("the body is not the message as JSON: {}", line);
}

}  // namespace

std::string_view connect_code(absl::StatusCode code) { return code_of(code).name; }

int connect_http_status(absl::StatusCode code) { return code_of(code).http; }

std::string connect_error(std::string_view code, std::string_view message) {
  return boost::json::serialize(
      boost::json::object{{"code", std::string(code)}, {"message", std::string(message)}});
}

std::string connect_error(const absl::Status& status) {
  return connect_error(connect_code(status.code()), message_of(status));
}

absl::Status message_from_json(std::string_view json, google::protobuf::Message& message) {
  if (json.empty()) {
    message.Clear();
    return absl::OkStatus();
  }
  const google::protobuf::util::Status status = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), static_cast<std::ptrdiff_t>(json.size())),
      &message, google::protobuf::util::JsonParseOptions());
  if (status.ok()) {
    return absl::OkStatus();
  }
  const auto text = status.message();
  return invalid_argument(reword({text.data(), static_cast<std::size_t>(text.size())}));
}

absl::StatusOr<std::string> message_to_json(const google::protobuf::Message& message) {
  std::string json;
  const google::protobuf::util::Status status =
      google::protobuf::util::MessageToJsonString(message, &json);
  if (!status.ok()) {
    return internal_error("the answer cannot be written as JSON: " + status.ToString());
  }
  return json;
}

absl::StatusOr<nanoseconds> parse_connect_timeout(std::string_view text) {
  if (text.empty() || text.size() > 10 ||
      text.find_first_not_of("0123456789") != std::string_view::npos) {
    return invalid_argument("Connect-Timeout-Ms: must be a number of up to ten digits");
  }
  return milliseconds(std::stoll(std::string(text)));
}

}  // namespace sluice::controlplane::http
