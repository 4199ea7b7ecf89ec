// Literal addresses and prefixes, without a resolver.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::config {

// IPv4 stands as ::ffff:a.b.c.d, so that a mapped address compares equal to the plain one.
struct IpAddress {
  std::array<std::uint8_t, 16> bytes{};

  friend bool operator==(const IpAddress&, const IpAddress&) = default;

  bool is_v4() const;
  bool is_loopback() const;     // 127.0.0.0/8, ::1
  bool is_unspecified() const;  // 0.0.0.0, ::
  // 169.254.0.0/16 (cloud metadata services too), fe80::/10, and the metadata addresses
  // fd00:ec2::254 and 100.100.100.200.
};

// IPv4 dotted quads and RFC 4291 forms, without brackets or zone.
std::optional<IpAddress> parse_ip(std::string_view text);

struct IpPrefix {
  IpAddress address;
  int bits = 128;  // of the mapped form

  bool contains(const IpAddress& other) const;
  // False if `ip` is no address.
  bool contains(std::string_view ip) const;
};

// An address, or ADDRESS/BITS. Nothing where bits beyond the prefix are set.
std::optional<IpPrefix> parse_prefix(std::string_view text);

}  // namespace sluice::config
