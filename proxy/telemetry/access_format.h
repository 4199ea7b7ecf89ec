// How a line of the access log looks: every field as JSON, or a format of %OPERATORS% by the names
// that Envoy's users know.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/status.h"
#include "proxy/http/head.h"

namespace sluice::telemetry {

struct AccessEntry;

// What an operator gives: nothing, a text or a number.
using AccessValue = std::variant<std::monostate, std::string, std::int64_t>;

// The operator of that name without argument, e.g. RESPONSE_CODE; null: there is none. The list
// stands in access_operators.cc.
using AccessOperator = AccessValue (*)(const AccessEntry& entry);
AccessOperator find_access_operator(std::string_view name);

// Immutable; any thread.
class AccessFormat {
 public:
  // `json`: to_json_line(). `text`: a line like Envoy's default. Otherwise a format: a JSON object
  // whose texts hold operators if it begins with `{`, else a line of text. An operator is %NAME%,
  // %START_TIME(STRFTIME)% or %REQ(HEADER?OTHER)%, each with :LENGTH before the last percent sign
  // if it is to be cut; %% is a percent sign. INVALID_ARGUMENT names the operator that does not
  // exist, or the header that holds a credential and is never logged.
  static absl::StatusOr<AccessFormat> parse(std::string_view format);

  // What lines of this format show of a request: to be taken while its head is there, and put into
  // each of its entries.
  std::vector<std::string> capture(const http::RequestHead& head) const;

  // With its newline. What is absent is `-`, in JSON null.
  std::string line(const AccessEntry& entry) const;
  // Says in the log itself that `count` lines were dropped.
  std::string dropped_line(Wall time, std::uint64_t count) const;

 private:
  struct Operator {
    AccessOperator get = nullptr;     // null: one of `fields`
    std::vector<std::size_t> fields;  // of wanted_; the first that is there counts
    std::string time_format;          // of START_TIME, for strftime
    std::size_t length_max = SIZE_MAX;
  };
  using Template = std::vector<std::variant<std::string, Operator>>;
  // JSON as it stands, then the text or value of a template (none: the end).
  struct Piece {
    std::string literal;
    std::optional<Template> value;
  };

  absl::StatusOr<Template> read_template(std::string_view text);
  absl::StatusOr<Operator> read_operator(std::string_view text);
  absl::Status read_request_fields(std::string_view names, Operator& out);
  absl::Status read_json(const boost::json::value& value);
  static AccessValue value_of(const Operator& op, const AccessEntry& entry);

  bool all_fields_ = false;
  Template text_;
  std::vector<Piece> json_;          // not empty: used in place of text_
  std::vector<std::string> wanted_;  // header names, lower case; :method, :path, :authority
};

}  // namespace sluice::telemetry
