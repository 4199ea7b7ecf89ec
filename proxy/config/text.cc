#include "proxy/config/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "proxy/base/limits.h"

namespace sluice::config {
namespace {

bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// Edits between the words, case and '_' aside; a swap of neighbours counts two.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) {
    row[j] = j;
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substitute = diagonal + (lower(a[i]) == lower(b[j]) ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substitute, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

bool is_name(std::string_view text) {
  if (text.empty() || text.size() > limits::kNameBytesMax || !is_alnum(text.front())) {
    return false;
  }
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; });
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  // Longer words are nobody's slip, and the distance costs their product.
  if (word.size() > limits::kNameBytesMax) {
    return "";
  }
  std::size_t best = std::max<std::size_t>(word.size() / 3, 1) + 1;
  std::string_view nearest;
  for (const std::string& candidate : known) {
    const std::size_t edits = distance(word, candidate);
    if (edits < best) {
      best = edits;
      nearest = candidate;
    }
  }
  return nearest.empty() ? "" : fmt::format(" (did you mean {}?)", nearest);
}

std::string one_of(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    text += i == 0 ? "" : i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

std::optional<nanoseconds> parse_duration(std::string_view text) {
  constexpr std::pair<std::string_view, nanoseconds> kUnits[] = {{"ms", milliseconds(1)},
                                                                 {"s", seconds(1)},
                                                                 {"m", seconds(60)},
                                                                 {"h", seconds(3600)},
                                                                 {"d", seconds(86'400)}};
  constexpr double kMax = 10.0 * 366 * 86'400 * 1e9;
  if (text.empty()) {
    return std::nullopt;
  }
  nanoseconds sum{};
  while (!text.empty()) {
    const std::size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
    double number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + digits, number, std::chars_format::fixed);
    if (digits == 0 || error != std::errc() || end != text.data() + digits) {
      return std::nullopt;
    }
    text.remove_prefix(digits);
    const std::size_t letters = std::min(text.find_first_of("0123456789."), text.size());
    const auto* unit = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const auto& u) {
      return u.first == text.substr(0, letters);
    });
    if (unit == std::end(kUnits)) {
      return std::nullopt;
    }
    text.remove_prefix(letters);
    const double part = number * static_cast<double>(unit->second.count());
    if (part + static_cast<double>(sum.count()) > kMax) {
      return std::nullopt;
    }
    sum += nanoseconds(static_cast<std::int64_t>(part + 0.5));
  }
  return sum;
}

std::string format_duration(nanoseconds duration) {
  if (duration < nanoseconds::zero()) {
    return "-" + format_duration(-duration);
  }
  if (duration % milliseconds(1) != nanoseconds::zero()) {
    return fmt::format("{}.{:09}s", duration / seconds(1), duration % seconds(1) / nanoseconds(1));
  }
  std::string text;
  const std::pair<const char*, nanoseconds> units[] = {
      {"h", seconds(3600)}, {"m", seconds(60)}, {"s", seconds(1)}, {"ms", milliseconds(1)}};
  for (const auto& [name, unit] : units) {
    if (duration >= unit) {
      text += fmt::format("{}{}", duration / unit, name);
      duration %= unit;
    }
  }
  return text.empty() ? "0s" : text;
}

}  // namespace sluice::config
