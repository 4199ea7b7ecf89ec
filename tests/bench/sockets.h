// Plain non-blocking TCP sockets on loopback or anywhere, for the bench's three programs.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/base/status.h"

namespace sluice::bench {

// Owns a descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

// `host` may be a name or a number, without brackets. The first address found.
absl::StatusOr<Address> resolve(const std::string& host, std::uint16_t port);

// "HOST:PORT", the host of an IPv6 address in brackets.
absl::StatusOr<Address> resolve(std::string_view host_and_port);

// Listens with SO_REUSEADDR; port 0 takes a free one. `shared` adds SO_REUSEPORT.
absl::StatusOr<Fd> listen_on(const Address& address, bool shared = false);

// The address that a socket is bound to, as "127.0.0.1:9100" or "[::1]:9100".
std::string local_name(const Fd& fd);
absl::StatusOr<Address> local_address(const Fd& fd);

// A connection begun, perhaps not ended: TCP_NODELAY, non-blocking. Errors of the peer come with
// the first event.
absl::StatusOr<Fd> start_connect(const Address& address);

// The next connection, non-blocking and TCP_NODELAY; not open when there is none to accept.
Fd accept_from(const Fd& listener);

// Registers once, edge-triggered, for all that can happen; `data` comes back with each event.
void watch(const Fd& epoll, const Fd& fd, void* data);

// Lets this process open as many files as it may.
void raise_file_limit();

// Prints `listening NAME ADDR:PORT` to stderr, as every program of Sluice does.
void announce(std::string_view name, const Fd& listener);

}  // namespace sluice::bench
