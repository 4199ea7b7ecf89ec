// Messages to the people who run a program: stderr, one line each, UTC time, level, text. Not the
// access log. Any thread.
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace sluice::log {

enum class Level { kDebug, kInfo, kWarning, kError };

// Below this level nothing is printed. Default kInfo.
void set_level(Level level);
Level level();
// Nothing is printed any more: for tests that provoke errors by the thousand.
void silence();
// debug, info, warning or error.
bool set_level(std::string_view name);

void write(Level level, std::string_view text);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kDebug) {
    write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
  }
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace sluice::log
