// Request targets: the path on which routing, policy and the backend agree, and queries.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/base/status.h"

namespace sluice::http {

struct Target {
  std::string path;   // normalised
  std::string query;  // as it came, without '?'
};

// Splits an origin-form target and normalises the path. The same path must be used to find the API,
// to judge and to ask the backend, or one could be judged and another served.
//  - %XX of unreserved characters (letters, digits, "-._~") is decoded; every other escape stays,
//    its digits in upper case. So %252e stays %252e.
//  - "." and ".." segments are resolved (after that decoding); ".." above the root is refused.
//  - Runs of slashes become one.
//  - Refused: a broken escape, an encoded slash, backslash, NUL or control byte, a raw backslash,
//    and "." or ".." with a ";" parameter, which some servers resolve and others do not.
absl::StatusOr<Target> parse_target(std::string_view target);

// path, then '?' and query if that is not empty.
std::string format_target(std::string_view path, std::string_view query);

// All escapes decoded; none if one is broken. '+' stays.
std::optional<std::string> percent_decode(std::string_view text);
// Everything but letters, digits and "-._~" escaped.
std::string percent_encode(std::string_view text);

// The values of a query's parameters of that name, decoded ('+' is a space; a broken escape stands
// for itself), in order. Names compare decoded, with case. Pairs are separated by '&' alone.
std::vector<std::string> query_values(std::string_view query, std::string_view name);
std::optional<std::string> query_value(std::string_view query, std::string_view name);

// The query without any parameter of that name (spelt with escapes or not); all other bytes stay.
std::string remove_parameter(std::string_view query, std::string_view name);

// application/x-www-form-urlencoded, as OAuth endpoints get it. INVALID_ARGUMENT for a broken
// escape or more than limits::kFormParametersMax pairs. Empty pieces ("a=1&&b=2") are passed over.
using Form = std::vector<std::pair<std::string, std::string>>;
absl::StatusOr<Form> parse_form(std::string_view body);
std::string format_form(const Form& form);

}  // namespace sluice::http
