// The two sides of RFC 6455 section 4 that the bench needs: heads as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::bench {

inline constexpr std::size_t kHeadBytesMax = 64 * 1024;

// The bytes up to and with the blank line; nothing while it has not come.
std::optional<std::size_t> head_size(std::string_view bytes);

// The first value of a header of a whole head, `name` in any case; empty when there is none.
std::string_view header_value(std::string_view head, std::string_view name);

// The number in a response's first line; 0 when it has none.
int status_of(std::string_view head);

// Sec-WebSocket-Accept for a key.
std::string accept_value(std::string_view key);

}  // namespace sluice::bench
