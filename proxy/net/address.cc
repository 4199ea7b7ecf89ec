#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <cstring>
#include <system_error>

#include "proxy/net/connect.h"
#include "proxy/net/tcp_side.h"

namespace sluice::net {

PeerAddress to_peer_address(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &address, sizeof(v4));
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    return {text, ntohs(v4.sin_port)};
  }
  if (address.ss_family != AF_INET6) {
    return {"unix:", 0};
  }
  sockaddr_in6 v6;
  std::memcpy(&v6, &address, sizeof(v6));
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    ::inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof(text));
  } else {
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
  }
  return {text, ntohs(v6.sin6_port)};
}

absl::StatusOr<sockaddr_storage> to_sockaddr(const std::string& ip, std::uint16_t port) {
  sockaddr_storage result{};
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  if (::inet_pton(AF_INET, ip.c_str(), &v4.sin_addr) == 1) {
    std::memcpy(&result, &v4, sizeof(v4));
    return result;
  }
  std::string bare = ip;
  if (bare.size() > 2 && bare.front() == '[' && bare.back() == ']') {
    bare = bare.substr(1, bare.size() - 2);
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  if (::inet_pton(AF_INET6, bare.c_str(), &v6.sin6_addr) == 1) {
    std::memcpy(&result, &v6, sizeof(v6));
    return result;
  }
  return invalid_argument(fmt::format(
      "`{}` is no IP address: give a literal one such as 127.0.0.1, 0.0.0.0 or [::]", ip));
}

socklen_t sockaddr_size(const sockaddr_storage& address) {
  return address.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

bool is_link_local_or_metadata(const std::string& ip) {
  const absl::StatusOr<sockaddr_storage> address = to_sockaddr(ip, 0);
  if (!address.ok()) {
    return false;
  }
  std::string plain = to_peer_address(*address).ip;  // IPv4 in IPv6 is IPv4
  in_addr v4{};
  if (::inet_pton(AF_INET, plain.c_str(), &v4) == 1) {
    const std::uint32_t bits = ntohl(v4.s_addr);
    return bits >> 16 == 0xa9fe || bits == 0x646464c8;  // 169.254.0.0/16, 100.100.100.200
  }
  in6_addr v6{};
  ::inet_pton(AF_INET6, plain.c_str(), &v6);
  return IN6_IS_ADDR_LINKLOCAL(&v6) || plain == "fd00:ec2::254";
}

std::string format_address(const std::string& ip, std::uint16_t port) {
  if (ip.rfind("unix:", 0) == 0) {
    return ip;
  }
  return ip.find(':') != std::string::npos && ip.front() != '[' ? fmt::format("[{}]:{}", ip, port)
                                                                : fmt::format("{}:{}", ip, port);
}

std::string errno_text(int error) { return std::generic_category().message(error); }

}  // namespace sluice::net
