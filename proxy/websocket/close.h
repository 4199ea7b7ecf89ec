// Close frames' payloads (RFC 6455 sections 5.5.1 and 7.4).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::websocket {

namespace close_code {
inline constexpr std::uint16_t kNormal = 1000;
inline constexpr std::uint16_t kGoingAway = 1001;
inline constexpr std::uint16_t kProtocolError = 1002;
inline constexpr std::uint16_t kUnsupported = 1003;
inline constexpr std::uint16_t kNoStatus = 1005;  // never sent
inline constexpr std::uint16_t kAbnormal = 1006;  // never sent
inline constexpr std::uint16_t kInvalidPayload = 1007;
inline constexpr std::uint16_t kPolicy = 1008;
inline constexpr std::uint16_t kTooBig = 1009;
inline constexpr std::uint16_t kExtensionMissing = 1010;
inline constexpr std::uint16_t kInternal = 1011;
inline constexpr std::uint16_t kServiceRestart = 1012;
inline constexpr std::uint16_t kTryAgainLater = 1013;
inline constexpr std::uint16_t kBadGateway = 1014;
}  // namespace close_code

// Whether an endpoint may send it: 1000 to 1003, 1007 to 1014, 3000 to 4999.
bool valid_close_code(std::uint16_t code);

struct Close {
  std::uint16_t code = close_code::kNoStatus;  // of a frame without payload
  std::string_view reason;                     // a view into the payload
};

// None if the unmasked payload breaks the rules: one byte, a code that may not be sent, a reason
// that is not UTF-8.
std::optional<Close> parse_close(std::string_view payload);

}  // namespace sluice::websocket
