#include "proxy/telemetry/json_line.h"

#include <fmt/format.h>

#include <ctime>
#include <iterator>

namespace sluice::telemetry {
namespace {

// The size of the UTF-8 character at the front of `text`; 0 if it is none (RFC 3629 section 4).
std::size_t utf8_size(std::string_view text) {
  const auto at = [&text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const auto in = [&at](std::size_t i, unsigned low, unsigned high) {
    return at(i) >= low && at(i) <= high;
  };
  const unsigned lead = at(0);
  if (lead < 0x80) {
    return 1;
  }
  if (lead >= 0xc2 && lead <= 0xdf) {
    return in(1, 0x80, 0xbf) ? 2 : 0;
  }
  if (lead >= 0xe0 && lead <= 0xef) {
    const bool second = in(1, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf);
    return second && in(2, 0x80, 0xbf) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const bool second = in(1, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf);
    return second && in(2, 0x80, 0xbf) && in(3, 0x80, 0xbf) ? 4 : 0;
  }
  return 0;
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const char c = text.front();
    std::size_t size = 1;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else if (const std::size_t character = utf8_size(text); character == 0) {
      out += "\\ufffd";
    } else {
      size = character;
      out += text.substr(0, size);
    }
    text.remove_prefix(size);
  }
  out += '"';
}

std::string rfc3339(Wall time) {
  const std::int64_t ms = to_ms(time);
  const std::int64_t s = ms >= 0 ? ms / 1000 : (ms - 999) / 1000;
  const std::time_t t = static_cast<std::time_t>(s);
  std::tm tm{};
  ::gmtime_r(&t, &tm);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", tm.tm_year + 1900, tm.tm_mon + 1,
                     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ms - s * 1000);
}

void JsonLine::name(std::string_view name) {
  if (text_.size() > 1) {
    text_ += ',';
  }
  append_json_string(text_, name);
  text_ += ':';
}

JsonLine& JsonLine::add(std::string_view field, std::string_view value) {
  name(field);
  append_json_string(text_, value);
  return *this;
}

JsonLine& JsonLine::add(std::string_view field, std::int64_t value) {
  name(field);
  fmt::format_to(std::back_inserter(text_), "{}", value);
  return *this;
}

JsonLine& JsonLine::add(std::string_view field, std::uint64_t value) {
  name(field);
  fmt::format_to(std::back_inserter(text_), "{}", value);
  return *this;
}

}  // namespace sluice::telemetry
