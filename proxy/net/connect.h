// Making connections and accepting them.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/limits.h"
#include "proxy/base/task.h"
#include "proxy/net/loop.h"
#include "proxy/net/side.h"
#include "proxy/net/tls.h"

namespace sluice::net {

// Turns host names into addresses off the loop (one blocking thread of its own, getaddrinfo,
// started by the first name). Shared by all loops: any thread may call resolve. Must outlive the
// tasks that are in it.
class Resolver {
 public:
  // What the system says of a name: literal addresses, at least one. Blocks.
  using LookUp = std::function<absl::StatusOr<std::vector<std::string>>(const std::string& host)>;

  Resolver();  // getaddrinfo
  explicit Resolver(LookUp look_up);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // On the calling loop's thread: literal addresses in order of preference, or UNAVAILABLE with the
  // host's name and the system's reason; DEADLINE_EXCEEDED at `deadline`; CANCELLED. An answer to
  // anybody that is not older than `age_max` is used again. A literal (IPv6 also in brackets) needs
  // no thread.
  Task<absl::StatusOr<std::vector<std::string>>> resolve(
      Loop& loop, std::string host, Mono deadline,
      nanoseconds age_max = limits::kResolverCacheTime);

  // Whether names may lead to link-local and metadata addresses; literals always may, whoever
  // configured them has decided. Such an address is left out of an answer; a name that has no other
  // is UNAVAILABLE. Any thread. Default: they may.
  void allow_local(bool allow);
  // Answers that had nothing else, since the start.
  std::uint64_t refused_local() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// 169.254.0.0/16, fe80::/10, and the addresses at which clouds serve a machine's credentials. False
// for what is no address.
bool is_link_local_or_metadata(const std::string& ip);

struct ConnectTarget {
  std::string host;
  std::uint16_t port = 0;
  std::shared_ptr<const TlsClientContext> tls;  // null: plain
  std::string server_name;                      // SNI and name check; empty: `host`
};

// Resolves, connects (addresses in turn), and does the TLS handshake where asked. The side comes
// paused. UNAVAILABLE: refused, unreachable, no such name, certificate not accepted (says which);
// RESOURCE_EXHAUSTED: no descriptor or local port is left; DEADLINE_EXCEEDED; CANCELLED.
// TCP_NODELAY is set.
Task<absl::StatusOr<std::unique_ptr<Side>>> connect(Loop& loop, Resolver& resolver,
                                                    ConnectTarget target, Mono deadline);

struct ListenOptions {
  // A literal IP ([::] takes IPv4, too), or unix:/path. The socket file gets the mode 0660 and is
  // removed with the acceptor; one that nobody listens on any more is replaced.
  std::string address;
  std::uint16_t port = 0;
  bool reuse_port = false;  // several loops of this process share it; not for unix:
  // Asked first for each connection, if set. True: it took the descriptor (see adopt_socket).
  std::function<bool(int fd, const sockaddr_storage& peer)> elsewhere = nullptr;
};

// A connection that another loop accepted. Null: epoll refused it, and it is closed.
std::unique_ptr<Side> adopt_socket(Loop& loop, int fd, const sockaddr_storage& peer);

// A listening socket of one loop. Accepted sides are plain, paused, TCP_NODELAY; see tls.h to
// upgrade them.
class Acceptor {
 public:
  // May destroy the acceptor.
  using OnAccept = std::function<void(std::unique_ptr<Side>)>;

  // Binds and listens. Errors name the address and what to do (in use by another process, no such
  // address, permission).
  static absl::StatusOr<std::unique_ptr<Acceptor>> listen(Loop& loop, const ListenOptions& options,
                                                          OnAccept on_accept);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // With port 0: the one that was taken.
  std::uint16_t port() const;
  // Connections closed at once because no descriptor was left, since the start.
  std::uint64_t refused_no_descriptors() const;

 private:
  struct Impl;
  explicit Acceptor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Checks that no other process listens on the address (SO_REUSEPORT would share it silently): binds
// without SO_REUSEPORT and lets go. With port 0: takes a free port and returns it. For unix:/path:
// 0, if nobody listens there.
absl::StatusOr<std::uint16_t> probe_port(const std::string& address, std::uint16_t port);

}  // namespace sluice::net
