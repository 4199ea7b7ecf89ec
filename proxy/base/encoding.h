// Hashes and text encodings that several rooms need.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

using Sha256 = std::array<std::uint8_t, 32>;

Sha256 sha256(std::string_view data);
std::array<std::uint8_t, 20> sha1(std::string_view data);

// Lower-case hex.
std::string hex(std::string_view bytes);
std::string hex(const Sha256& hash);
// A SHA-256 from 64 hex digits of either case; nothing else.
std::optional<Sha256> sha256_from_hex(std::string_view text);

// RFC 4648 section 4, with padding.
std::string base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);
// RFC 4648 section 5, without padding.
std::string base64url(std::string_view bytes);

// `size` bytes from the system's cryptographic source. Aborts if it has none.
std::string random_bytes(std::size_t size);

// Compares in time that depends on the lengths alone.
bool constant_time_equal(std::string_view a, std::string_view b);

}  // namespace sluice
