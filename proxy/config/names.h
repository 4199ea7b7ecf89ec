// Names of resources, and guesses at what somebody meant to write.
#pragma once

#include <string>
#include <string_view>
#include <vector>

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

}  // namespace sluice::config
