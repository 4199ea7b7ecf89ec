#include "proxy/config/ip.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace sluice::config {
namespace {

constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool in(const IpAddress& address, std::string_view prefix) {
  return parse_prefix(prefix)->contains(address);
}

}  // namespace

bool IpAddress::is_v4() const { return std::equal(kMapped.begin(), kMapped.end(), bytes.begin()); }

bool IpAddress::is_loopback() const { return in(*this, "127.0.0.0/8") || in(*this, "::1"); }

bool IpAddress::is_unspecified() const { return in(*this, "0.0.0.0") || in(*this, "::"); }

std::optional<IpAddress> parse_ip(std::string_view text) {
  // inet_pton wants an end, and nothing longer is an address.
  char buffer[INET6_ADDRSTRLEN] = {};
  if (text.empty() || text.size() >= sizeof buffer || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  std::memcpy(buffer, text.data(), text.size());
  IpAddress address;
  if (inet_pton(AF_INET, buffer, address.bytes.data() + kMapped.size()) == 1) {
    std::copy(kMapped.begin(), kMapped.end(), address.bytes.begin());
    return address;
  }
  if (inet_pton(AF_INET6, buffer, address.bytes.data()) == 1) {
    return address;
  }
  return std::nullopt;
}

bool IpPrefix::contains(const IpAddress& other) const {
  for (int bit = 0; bit < bits; bit += 8) {
    const std::size_t i = static_cast<std::size_t>(bit) / 8;
    const int left = std::min(8, bits - bit);
    const auto mask = static_cast<std::uint8_t>(0xff << (8 - left));
    if (((address.bytes[i] ^ other.bytes[i]) & mask) != 0) {
      return false;
    }
  }
  return true;
}

bool IpPrefix::contains(std::string_view ip) const {
  const std::optional<IpAddress> other = parse_ip(ip);
  return other && contains(*other);
}

std::optional<IpPrefix> parse_prefix(std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::optional<IpAddress> address = parse_ip(text.substr(0, slash));
  if (!address) {
    return std::nullopt;
  }
  IpPrefix prefix{*address, 128};
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    int bits = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (error != std::errc() || end != digits.data() + digits.size() || digits.front() == '-') {
      return std::nullopt;
    }
    const bool v4 = text.find(':') == std::string_view::npos;
    if (bits > (v4 ? 32 : 128)) {
      return std::nullopt;
    }
    prefix.bits = bits + (v4 ? 96 : 0);
  }
  for (int bit = prefix.bits; bit < 128; ++bit) {
    if ((prefix.address.bytes[static_cast<std::size_t>(bit) / 8] >> (7 - bit % 8) & 1) != 0) {
      return std::nullopt;
    }
  }
  return prefix;
}

}  // namespace sluice::config
