// Classes of bytes (RFC 9110 section 5.6, RFC 3986 section 2), in ASCII whatever the locale.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace sluice::http::chars {

inline constexpr std::uint8_t kTokenBit = 1;       // tchar
inline constexpr std::uint8_t kValueBit = 2;       // HTAB, SP, VCHAR, obs-text
inline constexpr std::uint8_t kUnreservedBit = 4;  // ALPHA, DIGIT, "-._~"

constexpr bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

inline constexpr std::array<std::uint8_t, 256> kClasses = [] {
  std::array<std::uint8_t, 256> classes{};
  for (int i = 0; i < 256; ++i) {
    const char c = static_cast<char>(i);
    const bool alnum = is_alpha(c) || is_digit(c);
    std::uint8_t bits = 0;
    if (alnum ||
        (i != 0 && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos)) {
      bits |= kTokenBit;
    }
    if (i == '\t' || (i >= 0x20 && i != 0x7f)) {
      bits |= kValueBit;
    }
    if (alnum || c == '-' || c == '.' || c == '_' || c == '~') {
      bits |= kUnreservedBit;
    }
    classes[static_cast<std::size_t>(i)] = bits;
  }
  return classes;
}();

constexpr bool has(char c, std::uint8_t bit) {
  return (kClasses[static_cast<unsigned char>(c)] & bit) != 0;
}
constexpr bool is_token(char c) { return has(c, kTokenBit); }
constexpr bool is_value(char c) { return has(c, kValueBit); }
constexpr bool is_unreserved(char c) { return has(c, kUnreservedBit); }
constexpr bool is_visible(char c) { return c > 0x20 && c < 0x7f; }

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// -1 if it is no hex digit.
constexpr int hex_value(char c) {
  if (is_digit(c)) {
    return c - '0';
  }
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

}  // namespace sluice::http::chars
