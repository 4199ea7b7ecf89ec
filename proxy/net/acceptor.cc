#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "proxy/base/limits.h"
#include "proxy/net/connect.h"
#include "proxy/net/tcp_side.h"

namespace sluice::net {
namespace {

void set_option(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof(value));
}

absl::Status listen_error(const ListenOptions& options, int error) {
  const std::string where = format_address(options.address, options.port);
  std::string advice;
  switch (error) {
    case EADDRINUSE:
      advice = "another process serves it; stop that one or choose another port";
      break;
    case EADDRNOTAVAIL:
      advice = "this machine has no such address";
      break;
    case EACCES:
      advice = "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE); choose a higher one";
      break;
    default:
      advice = errno_text(error);
  }
  return failed_precondition(fmt::format("cannot listen on {}: {}", where, advice));
}

std::uint16_t bound_port(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return to_peer_address(address).port;
}

constexpr std::string_view kUnix = "unix:";

bool is_unix(const ListenOptions& options) {
  return std::string_view(options.address).substr(0, kUnix.size()) == kUnix;
}

sockaddr_un unix_address(const ListenOptions& options) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  options.address.copy(address.sun_path, sizeof(address.sun_path) - 1, kUnix.size());
  return address;
}

// Takes away a socket file that nobody listens on. An error: somebody does, or it is another file.
absl::Status clear_path(const ListenOptions& options) {
  const sockaddr_un address = unix_address(options);
  struct stat info {};
  if (::lstat(address.sun_path, &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : listen_error(options, errno);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return failed_precondition(
        fmt::format("cannot listen on {}: the file there is no socket", options.address));
  }
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return listen_error(options, errno);
  }
  const int failed = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const int error = errno;
  ::close(fd);
  if (failed == 0 || error != ECONNREFUSED) {
    return listen_error(options, failed == 0 ? EADDRINUSE : error);
  }
  ::unlink(address.sun_path);
  return absl::OkStatus();
}

absl::StatusOr<int> bind_unix_socket(const ListenOptions& options) {
  SLUICE_RETURN_IF_ERROR(clear_path(options));
  const sockaddr_un address = unix_address(options);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return listen_error(options, errno);
  }
  // Nobody can connect before listen(), so the mode is right before it matters.
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::chmod(address.sun_path, 0660) != 0) {
    const int error = errno;
    ::close(fd);
    return listen_error(options, error);
  }
  return fd;
}

// A bound socket, or the error of errno.
absl::StatusOr<int> bind_socket(const ListenOptions& options) {
  if (is_unix(options)) {
    return bind_unix_socket(options);
  }
  SLUICE_ASSIGN_OR_RETURN(const sockaddr_storage address,
                          to_sockaddr(options.address, options.port));
  const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return listen_error(options, errno);
  }
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (options.reuse_port) {
    set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  }
  if (address.ss_family == AF_INET6) {
    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  }
  // Linux hands it on to the accepted sockets.
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sockaddr_size(address)) != 0) {
    const int error = errno;
    ::close(fd);
    return listen_error(options, error);
  }
  return fd;
}

}  // namespace

struct Acceptor::Impl final : PollHandler {
  Impl(Loop& l, int f, const ListenOptions& options, OnAccept callback)
      : loop(l),
        fd(f),
        elsewhere(options.elsewhere),
        on_accept(std::move(callback)),
        retry([](void* self) { static_cast<Impl*>(self)->on_ready(0); }, this) {
    spare = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct stat info {};
    if (is_unix(options) && ::lstat(unix_address(options).sun_path, &info) == 0) {
      path = unix_address(options).sun_path;
      inode = info.st_ino;
    }
  }
  ~Impl() override {
    // Unless a successor has put its own there.
    struct stat info {};
    if (!path.empty() && ::lstat(path.c_str(), &info) == 0 && info.st_ino == inode) {
      ::unlink(path.c_str());
    }
    if (gone != nullptr) {
      *gone = true;
    }
    loop.poller().remove(*this);
    ::close(fd);
    if (spare >= 0) {
      ::close(spare);
    }
  }
  void on_ready(std::uint32_t events) override;
  bool refuse();

  Loop& loop;
  int fd;
  std::function<bool(int fd, const sockaddr_storage& peer)> elsewhere;
  OnAccept on_accept;
  std::string path;  // of a unix socket
  ino_t inode = 0;
  Timer retry;
  int spare;  // given up for a moment to close what cannot be served
  std::uint64_t refused = 0;
  bool* gone = nullptr;
};

void Acceptor::Impl::on_ready(std::uint32_t) {
  bool is_gone = false;
  gone = &is_gone;
  for (std::size_t i = 0; i < limits::kAcceptsPerTurnMax; ++i) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    const int accepted =
        ::accept4(fd, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0) {
      if (errno == EMFILE || errno == ENFILE) {
        if (refuse()) {
          continue;
        }
      } else if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) {
        continue;
      }
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        loop.timers().arm(retry, loop.clock().now() + limits::kAcceptRetry);
      }
      gone = nullptr;
      return;
    }
    if (elsewhere != nullptr && elsewhere(accepted, address)) {
      continue;
    }
    std::unique_ptr<Side> side = adopt_socket(loop, accepted, address);
    if (side == nullptr) {
      ++refused;
      continue;
    }
    on_accept(std::move(side));
    if (is_gone) {
      return;
    }
  }
  gone = nullptr;
  loop.poller().ready_again(*this, 0);
}

// Without a descriptor the connection would stay in the queue and its client would wait.
bool Acceptor::Impl::refuse() {
  if (spare < 0) {
    spare = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    return spare >= 0;
  }
  ::close(spare);
  const int accepted = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
  const int error = errno;
  if (accepted >= 0) {
    ::close(accepted);
    ++refused;
  }
  spare = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  errno = error;
  return accepted >= 0;
}

Acceptor::Acceptor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Acceptor::~Acceptor() = default;

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::listen(Loop& loop, const ListenOptions& options,
                                                           OnAccept on_accept) {
  SLUICE_ASSIGN_OR_RETURN(const int fd, bind_socket(options));
  auto impl = std::make_unique<Impl>(loop, fd, options, std::move(on_accept));
  if (::listen(fd, limits::kListenBacklog) != 0 || !loop.poller().add(fd, *impl)) {
    return listen_error(options, errno);
  }
  return std::unique_ptr<Acceptor>(new Acceptor(std::move(impl)));
}

std::unique_ptr<Side> adopt_socket(Loop& loop, int fd, const sockaddr_storage& peer) {
  return TcpSide::create(loop, fd, peer, /*connecting=*/false);
}

std::uint16_t Acceptor::port() const { return bound_port(impl_->fd); }
std::uint64_t Acceptor::refused_no_descriptors() const { return impl_->refused; }

absl::StatusOr<std::uint16_t> probe_port(const std::string& address, std::uint16_t port) {
  const ListenOptions options{address, port, false};
  if (is_unix(options)) {
    SLUICE_RETURN_IF_ERROR(clear_path(options));
    return 0;
  }
  SLUICE_ASSIGN_OR_RETURN(const int fd, bind_socket(options));
  // Two that only bind may share with SO_REUSEADDR; listening tells.
  const int failed = ::listen(fd, 1);
  const int error = errno;
  const std::uint16_t bound = bound_port(fd);
  ::close(fd);
  if (failed != 0) {
    return listen_error(options, error);
  }
  return bound;
}

}  // namespace sluice::net
