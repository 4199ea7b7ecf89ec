// One JSON object on one line, written field by field.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/base/clock.h"

namespace sluice::telemetry {

// Appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);

// "2025-11-24T15:07:00.123Z" (RFC 3339).
std::string rfc3339(Wall time);

class JsonLine {
 public:
  JsonLine() : text_("{") {}

  JsonLine& add(std::string_view name, std::string_view value);
  JsonLine& add(std::string_view name, const char* value) {
    return add(name, std::string_view(value));
  }
  JsonLine& add(std::string_view name, std::int64_t value);
  JsonLine& add(std::string_view name, std::uint64_t value);
  JsonLine& add(std::string_view name, int value) {
    return add(name, static_cast<std::int64_t>(value));
  }
  // Left out where empty.
  JsonLine& add_if(std::string_view name, std::string_view value) {
    return value.empty() ? *this : add(name, value);
  }
  JsonLine& add(std::string_view name, Wall time) { return add(name, rfc3339(time)); }

  // With its newline.
  std::string finish() && {
    text_ += "}\n";
    return std::move(text_);
  }

 private:
  void name(std::string_view name);

  std::string text_;
};

}  // namespace sluice::telemetry
