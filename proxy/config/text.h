// Names of resources, durations, and guesses at what somebody meant to write.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/clock.h"

namespace sluice::config {

// [A-Za-z0-9][A-Za-z0-9._-]{0,62}
bool is_name(std::string_view text);

// What a resource's name must look like, for people.
inline constexpr char kNameRule[] =
    "a name is 1 to 63 of A-Z a-z 0-9 . _ - and begins with a letter or digit";

// " (did you mean NEAREST?)" with the known word that is nearest to `word`, or "" if none is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

// "a, b or c"
std::string one_of(const std::vector<std::string>& words);

// 30s, 500ms, 1.5s, 5m, 1h, 1h30m, 1d; at most 10 years. Nothing without a unit.
std::optional<nanoseconds> parse_duration(std::string_view text);
// The shortest of these forms: 90s is 1m30s, 500ms; beyond a millisecond's parts, 0.000000001s.
std::string format_duration(nanoseconds duration);

}  // namespace sluice::config
