#include "proxy/net/proxy_protocol.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string>

#include "proxy/base/limits.h"
#include "proxy/net/tcp_side.h"

namespace sluice::net {
namespace {

using Parsed = absl::StatusOr<std::optional<ProxyHeader>>;

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::string_view kPrefix = "PROXY ";
constexpr std::size_t kLineBytesMax = 107;  // section 2.1, the CRLF included

bool begins_like(std::string_view bytes, std::string_view whole) {
  const std::size_t size = std::min(bytes.size(), whole.size());
  return bytes.substr(0, size) == whole.substr(0, size);
}

std::optional<std::uint16_t> read_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool plain = !text.empty() && (text.size() == 1 || text.front() != '0');
  return error == std::errc() && end == text.data() + text.size() && plain ? std::optional(port)
                                                                           : std::nullopt;
}

// In the one textual form that every parser gives the same address.
std::optional<PeerAddress> read_address(int family, std::string_view ip, std::uint16_t port) {
  std::array<unsigned char, sizeof(in6_addr)> binary{};
  if (::inet_pton(family, std::string(ip).c_str(), binary.data()) != 1) {
    return std::nullopt;
  }
  const auto address = to_sockaddr(std::string(ip), port);
  return address.ok() ? std::optional(to_peer_address(*address)) : std::nullopt;
}

// "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
Parsed parse_line(std::string_view bytes) {
  const std::size_t end = bytes.substr(0, kLineBytesMax).find("\r\n");
  if (end == std::string_view::npos) {
    if (bytes.size() < kLineBytesMax) {
      return std::nullopt;
    }
    return invalid_argument("a PROXY line is longer than 107 bytes");
  }
  ProxyHeader header;
  header.size = end + 2;
  std::string_view rest = bytes.substr(kPrefix.size(), end - kPrefix.size());
  if (rest == "UNKNOWN" || rest.substr(0, 8) == "UNKNOWN ") {
    return header;
  }
  std::array<std::string_view, 5> parts;  // family, source, destination, and their ports
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t space = i + 1 < parts.size() ? rest.find(' ') : rest.size();
    if (space == std::string_view::npos) {
      return invalid_argument("a PROXY line has not five parts behind PROXY");
    }
    parts[i] = rest.substr(0, space);
    rest.remove_prefix(std::min(space + 1, rest.size()));
  }
  if (parts[0] != "TCP4" && parts[0] != "TCP6") {
    return invalid_argument("a PROXY line is neither of TCP4, TCP6 nor UNKNOWN");
  }
  const int family = parts[0] == "TCP4" ? AF_INET : AF_INET6;
  const std::optional<std::uint16_t> from = read_port(parts[3]);
  const std::optional<std::uint16_t> to = read_port(parts[4]);
  if (from && to && read_address(family, parts[2], *to)) {
    header.client = read_address(family, parts[1], *from);
  }
  if (!header.client) {
    return invalid_argument("a PROXY line holds an address or a port that is none");
  }
  return header;
}

std::uint16_t read_u16(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>(static_cast<unsigned char>(bytes[at]) << 8 |
                                    static_cast<unsigned char>(bytes[at + 1]));
}

Parsed parse_binary(std::string_view bytes) {
  constexpr std::size_t kHeadBytes = 16;
  if (bytes.size() < kHeadBytes) {
    return std::nullopt;
  }
  const auto command = static_cast<unsigned char>(bytes[12]);
  const auto family = static_cast<unsigned char>(bytes[13]);
  const std::size_t length = read_u16(bytes, 14);
  ProxyHeader header;
  header.size = kHeadBytes + length;
  if (command != 0x20 && command != 0x21) {
    return invalid_argument("a PROXY header is of another version than 2, or of no known command");
  }
  if (header.size > limits::kProxyHeaderBytesMax) {
    return invalid_argument("a PROXY header is too long");
  }
  if (bytes.size() < header.size) {
    return std::nullopt;
  }
  const std::string_view body = bytes.substr(kHeadBytes, length);
  if (command == 0x20) {
    return header;  // LOCAL: a health check of the balancer itself
  }
  sockaddr_storage address{};
  if (family == 0x11 && length >= 12) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(read_u16(body, 8));
    std::memcpy(&v4->sin_addr, body.data(), 4);
  } else if (family == 0x21 && length >= 36) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(read_u16(body, 32));
    std::memcpy(&v6->sin6_addr, body.data(), 16);
  } else if (family == 0x00 || (family == 0x31 && length >= 216)) {
    return header;  // unspecified, or a unix socket: nobody's IP address
  } else {
    return invalid_argument("a PROXY header is not of TCP, or too short for its addresses");
  }
  header.client = to_peer_address(address);
  return header;
}

}  // namespace

absl::StatusOr<std::optional<ProxyHeader>> parse_proxy_header(std::string_view bytes) {
  if (begins_like(bytes, kSignature)) {
    return bytes.size() < kSignature.size() ? Parsed(std::nullopt) : parse_binary(bytes);
  }
  if (begins_like(bytes, kPrefix)) {
    return bytes.size() < kPrefix.size() ? Parsed(std::nullopt) : parse_line(bytes);
  }
  return invalid_argument("the connection does not begin with a PROXY protocol header");
}

}  // namespace sluice::net
