#include "proxy/telemetry/access_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <ctime>
#include <utility>

#include "proxy/telemetry/access_log.h"
#include "proxy/telemetry/json_line.h"

namespace sluice::telemetry {
namespace {

constexpr std::string_view kText =
    R"([%START_TIME%] "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %ACCESS_LOG_TYPE% %RESPONSE_CODE% )"
    R"(%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "%REQ(X-FORWARDED-FOR)%" )"
    R"("%REQ(USER-AGENT)%" "%STREAM_ID%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%")";

constexpr std::array<std::string_view, 6> kCredentials = {"authorization", "proxy-authorization",
                                                          "cookie",        "sec-websocket-protocol",
                                                          "apikey",        "sec-websocket-key"};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

std::string text_of(const AccessValue& value, std::string_view absent) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    return *text;
  }
  const auto* number = std::get_if<std::int64_t>(&value);
  return number != nullptr ? fmt::format("{}", *number) : std::string(absent);
}

// What a client wrote must not end the line or a quoted part of it.
void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
}

std::string format_time(Wall time, const std::string& format) {
  const std::time_t whole = static_cast<std::time_t>(to_ms(time) / 1000);
  std::tm parts{};
  ::gmtime_r(&whole, &parts);
  std::array<char, 256> buffer{};
  return {buffer.data(), std::strftime(buffer.data(), buffer.size(), format.c_str(), &parts)};
}

}  // namespace

absl::StatusOr<AccessFormat> AccessFormat::parse(std::string_view format) {
  AccessFormat out;
  if (format == "json") {
    out.all_fields_ = true;
    return out;
  }
  if (format == "text") {
    format = kText;
  }
  if (format.empty() || format.front() != '{') {
    SLUICE_ASSIGN_OR_RETURN(out.text_, out.read_template(format));
    out.text_.emplace_back("\n");
    return out;
  }
  boost::json::error_code error;
  const boost::json::value object = boost::json::parse({format.data(), format.size()}, error);
  if (error) {
    return invalid_argument(fmt::format("the format begins with {{ and is no JSON object: {}",
                                        std::string(error.message())));
  }
  out.json_.emplace_back();
  SLUICE_RETURN_IF_ERROR(out.read_json(object));
  out.json_.back().literal += '\n';
  return out;
}

absl::Status AccessFormat::read_json(const boost::json::value& value) {
  const auto literal = [this](std::string_view text) { json_.back().literal += text; };
  if (value.is_object()) {
    literal("{");
    bool first = true;
    for (const auto& member : value.get_object()) {
      literal(first ? "" : ",");
      first = false;
      append_json_string(json_.back().literal, {member.key().data(), member.key().size()});
      literal(":");
      SLUICE_RETURN_IF_ERROR(read_json(member.value()));
    }
    literal("}");
  } else if (value.is_array()) {
    literal("[");
    for (const boost::json::value& element : value.get_array()) {
      literal(&element == value.get_array().data() ? "" : ",");
      SLUICE_RETURN_IF_ERROR(read_json(element));
    }
    literal("]");
  } else if (value.is_string()) {
    const boost::json::string& text = value.get_string();
    SLUICE_ASSIGN_OR_RETURN(json_.back().value, read_template({text.data(), text.size()}));
    json_.emplace_back();
  } else {
    literal(boost::json::serialize(value));
  }
  return absl::OkStatus();
}

absl::StatusOr<AccessFormat::Template> AccessFormat::read_template(std::string_view text) {
  Template out;
  std::string literal;
  while (!text.empty()) {
    const std::size_t percent = std::min(text.find('%'), text.size());
    literal += text.substr(0, percent);
    text.remove_prefix(percent);
    if (text.empty()) {
      break;
    }
    if (text.substr(0, 2) == "%%") {
      literal += '%';
      text.remove_prefix(2);
      continue;
    }
    // Percent signs within parentheses belong to a time's format.
    const std::size_t open = text.find('(');
    const std::size_t close = open < text.find('%', 1) ? text.find(')', open) : 0;
    const std::size_t end = close == std::string_view::npos ? close : text.find('%', close + 1);
    if (end == std::string_view::npos) {
      return invalid_argument(
          fmt::format("`{}`: an operator ends with %; write %% for a percent sign", text));
    }
    if (!literal.empty()) {
      out.emplace_back(std::exchange(literal, ""));
    }
    SLUICE_ASSIGN_OR_RETURN(Operator op, read_operator(text.substr(1, end - 1)));
    out.emplace_back(std::move(op));
    text.remove_prefix(end + 1);
  }
  if (!literal.empty()) {
    out.emplace_back(std::move(literal));
  }
  return out;
}

// NAME, NAME(ARGUMENT), either with :LENGTH.
absl::StatusOr<AccessFormat::Operator> AccessFormat::read_operator(std::string_view text) {
  const std::string whole(text);
  Operator op;
  std::string_view argument;
  bool has_argument = false;
  std::string_view rest;
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open != std::string_view::npos && close != std::string_view::npos && open < close) {
    has_argument = true;
    argument = text.substr(open + 1, close - open - 1);
    rest = text.substr(close + 1);
    text = text.substr(0, open);
  } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    rest = text.substr(colon);
    text = text.substr(0, colon);
  }
  if (!rest.empty()) {
    const char* end = rest.data() + rest.size();
    const auto [stop, error] = std::from_chars(rest.data() + 1, end, op.length_max);
    if (rest.front() != ':' || error != std::errc() || stop != end) {
      return invalid_argument(fmt::format("%{}%: a length is a number, as in %NAME:20%", whole));
    }
  }
  if (text == "REQ" && has_argument) {
    SLUICE_RETURN_IF_ERROR(read_request_fields(argument, op));
    return op;
  }
  op.get = find_access_operator(text);
  if (op.get == nullptr || (has_argument && text != "START_TIME")) {
    return invalid_argument(fmt::format(
        "%{}%: there is no such operator; proxy/telemetry/README.md lists them", whole));
  }
  op.time_format = argument;
  return op;
}

absl::Status AccessFormat::read_request_fields(std::string_view names, Operator& out) {
  while (!names.empty()) {
    const std::size_t end = std::min(names.find('?'), names.size());
    const std::string name = lower(names.substr(0, end));
    names.remove_prefix(std::min(end + 1, names.size()));
    if (std::find(kCredentials.begin(), kCredentials.end(), name) != kCredentials.end()) {
      return invalid_argument(
          fmt::format("%REQ({})%: the field may hold a credential, which no log shows", name));
    }
    const auto known = std::find(wanted_.begin(), wanted_.end(), name);
    out.fields.push_back(static_cast<std::size_t>(known - wanted_.begin()));
    if (known == wanted_.end()) {
      wanted_.push_back(name);
    }
  }
  return out.fields.empty() ? invalid_argument("%REQ()%: name a header, as in %REQ(USER-AGENT)%")
                            : absl::OkStatus();
}

std::vector<std::string> AccessFormat::capture(const http::RequestHead& head) const {
  std::vector<std::string> out;
  out.reserve(wanted_.size());
  for (const std::string& name : wanted_) {
    if (name == ":method") {
      out.push_back(head.method);
    } else if (name == ":path") {
      const std::string_view target = head.target;
      const std::size_t query = std::min(target.find('?'), target.size());
      out.push_back(std::string(target.substr(0, query)) +
                    (query == target.size() ? "" : "?" + redact_query(target.substr(query + 1))));
    } else {
      out.emplace_back(head.headers.get(name == ":authority" ? "host" : name));
    }
  }
  return out;
}

AccessValue AccessFormat::value_of(const Operator& op, const AccessEntry& entry) {
  AccessValue value;
  if (!op.time_format.empty()) {
    value = format_time(entry.facts.begin, op.time_format);
  } else if (op.get != nullptr) {
    value = op.get(entry);
  } else {
    for (const std::size_t field : op.fields) {
      if (field < entry.request.size() && !entry.request[field].empty()) {
        value = entry.request[field];
        break;
      }
    }
  }
  if (auto* text = std::get_if<std::string>(&value)) {
    text->resize(std::min(text->size(), op.length_max));
  }
  return value;
}

std::string AccessFormat::line(const AccessEntry& entry) const {
  if (all_fields_) {
    return to_json_line(entry);
  }
  std::string out;
  const auto write = [&](const Template& pieces, std::string& to, bool escape) {
    for (const auto& piece : pieces) {
      if (const auto* literal = std::get_if<std::string>(&piece)) {
        to += *literal;
      } else if (escape) {
        append_escaped(to, text_of(value_of(std::get<Operator>(piece), entry), "-"));
      } else {
        to += text_of(value_of(std::get<Operator>(piece), entry), "-");
      }
    }
  };
  if (json_.empty()) {
    write(text_, out, true);
    return out;
  }
  for (const Piece& piece : json_) {
    out += piece.literal;
    if (!piece.value) {
      continue;
    }
    const Template& value = *piece.value;
    const auto* op = value.size() == 1 ? std::get_if<Operator>(&value.front()) : nullptr;
    const AccessValue single = op != nullptr ? value_of(*op, entry) : AccessValue();
    if (op != nullptr && !std::holds_alternative<std::string>(single)) {
      out += text_of(single, "null");
    } else {
      std::string text;
      write(value, text, false);
      append_json_string(out, text);
    }
  }
  return out;
}

std::string AccessFormat::dropped_line(Wall time, std::uint64_t count) const {
  if (!all_fields_ && json_.empty()) {
    return fmt::format("[{}] {} lines of this log were dropped\n", rfc3339(time), count);
  }
  JsonLine line;
  line.add("kind", "access").add("time", time).add("event", "dropped").add("count", count);
  return std::move(line).finish();
}

}  // namespace sluice::telemetry
