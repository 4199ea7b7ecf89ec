// The Connect protocol for unary calls with JSON, sans-I/O: statuses, errors, messages.
// https://connectrpc.com/docs/protocol
#pragma once

#include <google/protobuf/message.h>

#include <optional>
#include <string>
#include <string_view>

#include "proxy/base/clock.h"
#include "proxy/base/status.h"

namespace sluice::controlplane::http {

// "not_found"; and the HTTP status that goes with it.
std::string_view connect_code(absl::StatusCode code);
int connect_http_status(absl::StatusCode code);

// {"code","message"}.
std::string connect_error(std::string_view code, std::string_view message);
std::string connect_error(const absl::Status& status);

// Fills `message` from protobuf's JSON form. INVALID_ARGUMENT names the field that is unknown or
// has a wrong value. An empty body is an empty message.
absl::Status message_from_json(std::string_view json, google::protobuf::Message& message);
absl::StatusOr<std::string> message_to_json(const google::protobuf::Message& message);

// The value of Connect-Timeout-Ms: up to ten digits. INVALID_ARGUMENT.
absl::StatusOr<nanoseconds> parse_connect_timeout(std::string_view text);

}  // namespace sluice::controlplane::http
