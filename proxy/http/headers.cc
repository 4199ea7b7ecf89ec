#include "proxy/http/headers.h"

#include <algorithm>

#include "proxy/http/chars.h"

namespace sluice::http {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && chars::lower(a[i]) != chars::lower(b[i])) {
      return false;
    }
  }
  return true;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), chars::is_token);
}

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool valid_value(std::string_view value) {
  return std::all_of(value.begin(), value.end(), chars::is_value) &&
         trim(value).size() == value.size();
}

std::optional<std::string_view> Headers::find(std::string_view name) const {
  for (const Field field : *this) {
    if (equal_ignoring_case(field.name, name)) {
      return field.value;
    }
  }
  return std::nullopt;
}

std::string_view Headers::get(std::string_view name) const {
  return find(name).value_or(std::string_view());
}

std::vector<std::string_view> Headers::all(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const Field field : *this) {
    if (equal_ignoring_case(field.name, name)) {
      values.push_back(field.value);
    }
  }
  return values;
}

std::size_t Headers::count(std::string_view name) const {
  return static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(), [&](const Entry& e) {
        return equal_ignoring_case({arena_.data() + e.begin, e.name_size}, name);
      }));
}

bool Headers::inside(std::string_view text) const {
  // As numbers: comparing pointers into different objects means nothing.
  const auto begin = reinterpret_cast<std::uintptr_t>(arena_.data());
  const auto at = reinterpret_cast<std::uintptr_t>(text.data());
  return at >= begin && at < begin + arena_.size();
}

Headers::Entry Headers::append(std::string_view name, std::string_view value) {
  // A view into the arena would dangle once the arena grows for the first of the two.
  std::string name_copy;
  std::string value_copy;
  if (inside(name)) {
    name = name_copy = name;
  }
  if (inside(value)) {
    value = value_copy = value;
  }
  Entry entry{};
  entry.begin = static_cast<std::uint32_t>(arena_.size());
  entry.name_size = static_cast<std::uint32_t>(name.size());
  arena_.append(name);
  entry.value = static_cast<std::uint32_t>(arena_.size());
  entry.value_size = static_cast<std::uint32_t>(value.size());
  arena_.append(value);
  return entry;
}

void Headers::add(std::string_view name, std::string_view value) {
  entries_.push_back(append(name, value));
}

void Headers::set(std::string_view name, std::string_view value) {
  const Entry fresh = append(name, value);
  const std::string_view wanted(arena_.data() + fresh.begin, fresh.name_size);
  const auto same = [&](const Entry& e) {
    return equal_ignoring_case({arena_.data() + e.begin, e.name_size}, wanted);
  };
  const auto first = std::find_if(entries_.begin(), entries_.end(), same);
  if (first == entries_.end()) {
    entries_.push_back(fresh);
    return;
  }
  *first = fresh;
  entries_.erase(std::remove_if(first + 1, entries_.end(), same), entries_.end());
}

std::size_t Headers::remove(std::string_view name) {
  return remove_if(
      [&](std::string_view n, std::string_view) { return equal_ignoring_case(n, name); });
}

std::vector<std::string_view> Headers::tokens(std::string_view name) const {
  std::vector<std::string_view> out;
  for (const Field field : *this) {
    if (!equal_ignoring_case(field.name, name)) {
      continue;
    }
    std::string_view rest = field.value;
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      const std::string_view member = trim(rest.substr(0, comma));
      if (!member.empty()) {
        out.push_back(member);
      }
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  return out;
}

bool Headers::has_token(std::string_view name, std::string_view token) const {
  const std::vector<std::string_view> list = tokens(name);
  return std::any_of(list.begin(), list.end(),
                     [&](std::string_view t) { return equal_ignoring_case(t, token); });
}

bool Headers::operator==(const Headers& other) const {
  if (size() != other.size()) {
    return false;
  }
  for (std::size_t i = 0; i < size(); ++i) {
    if (!equal_ignoring_case(at(i).name, other.at(i).name) || at(i).value != other.at(i).value) {
      return false;
    }
  }
  return true;
}

}  // namespace sluice::http
