#include "tests/bench/sockets.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "proxy/base/check.h"

namespace sluice::bench {
namespace {

constexpr int kBacklog = 4096;

absl::Status system_error(std::string_view what) {
  return unavailable(fmt::format("{}: {}", what, std::strerror(errno)));
}

void set_option(int fd, int level, int option) {
  const int on = 1;
  setsockopt(fd, level, option, &on, sizeof(on));
}

}  // namespace

void Fd::reset(int fd) {
  if (fd_ >= 0) {
    close(fd_);
  }
  fd_ = fd;
}

absl::StatusOr<Address> resolve(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) {
    return invalid_argument(fmt::format("host {} is unknown: {}", host, gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  Address address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  return address;
}

absl::StatusOr<Address> resolve(std::string_view host_and_port) {
  const std::size_t colon = host_and_port.rfind(':');
  std::uint16_t port = 0;
  const std::string_view digits =
      colon == std::string_view::npos ? std::string_view() : host_and_port.substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), port);
  if (digits.empty() || error != std::errc() || end != digits.end()) {
    return invalid_argument(fmt::format("{} is not HOST:PORT", host_and_port));
  }
  std::string_view host = host_and_port.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  return resolve(std::string(host), port);
}

absl::StatusOr<Fd> listen_on(const Address& address, bool shared) {
  Fd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.open()) {
    return system_error("cannot make a socket");
  }
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR);
  if (shared) {
    set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT);
  }
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) {
    return system_error("cannot bind");
  }
  if (listen(fd.get(), kBacklog) != 0) {
    return system_error("cannot listen");
  }
  return fd;
}

absl::StatusOr<Address> local_address(const Fd& fd) {
  Address address;
  address.size = sizeof(address.storage);
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) {
    return system_error("cannot read the address of a socket");
  }
  return address;
}

std::string local_name(const Fd& fd) {
  const absl::StatusOr<Address> address = local_address(fd);
  if (!address.ok()) {
    return "?";
  }
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  getnameinfo(reinterpret_cast<const sockaddr*>(&address->storage), address->size, host,
              sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
  const bool v6 = address->storage.ss_family == AF_INET6;
  return v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

absl::StatusOr<Fd> start_connect(const Address& address) {
  Fd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.open()) {
    return system_error("cannot make a socket");
  }
  set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY);
  const auto* where = reinterpret_cast<const sockaddr*>(&address.storage);
  if (connect(fd.get(), where, address.size) != 0 && errno != EINPROGRESS) {
    return system_error("cannot connect");
  }
  return fd;
}

Fd accept_from(const Fd& listener) {
  Fd fd(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (fd.open()) {
    set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY);
  }
  return fd;
}

void watch(const Fd& epoll, const Fd& fd, void* data) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = data;
  SLUICE_CHECK(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event) == 0);
}

void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

void announce(std::string_view name, const Fd& listener) {
  fmt::print(stderr, "listening {} {}\n", name, local_name(listener));
  std::fflush(stderr);
}

}  // namespace sluice::bench
