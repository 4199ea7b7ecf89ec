#include "proxy/net/connect.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "proxy/base/wait.h"
#include "proxy/net/tcp_side.h"

namespace sluice::net {
namespace {

std::string connect_reason(int error) {
  if (error == EADDRNOTAVAIL) {
    return "no local port is left for this address; use several endpoint addresses or widen "
           "net.ipv4.ip_local_port_range";
  }
  if (error == EMFILE || error == ENFILE) {
    return "no file descriptor is left; raise the limit of open files";
  }
  return errno_text(error);
}

absl::Status connect_error(const std::string& where, std::string_view reason) {
  return unavailable(fmt::format("cannot connect to {}: {}", where, reason));
}

absl::Status connect_error(const std::string& where, int error) {
  const bool ours = error == EADDRNOTAVAIL || error == EMFILE || error == ENFILE;
  const absl::Status status = connect_error(where, connect_reason(error));
  return ours ? resource_exhausted(message_of(status)) : status;
}

// Waits for the one event that a connecting side has.
class Connecting final : public SideUser {
 public:
  void on_bytes(Side&, MutableBytes) override {}
  void on_end(Side&) override { wait.set(absl::UnavailableError("closed at once")); }
  void on_error(Side&, absl::Status status) override { wait.set(std::move(status)); }
  void on_writable(Side&) override { wait.set(absl::OkStatus()); }
  Wait wait;
};

absl::StatusOr<std::unique_ptr<Side>> begin(Loop& loop, const std::string& ip, std::uint16_t port) {
  SLUICE_ASSIGN_OR_RETURN(const sockaddr_storage address, to_sockaddr(ip, port));
  const std::string where = format_address(ip, port);
  const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return connect_error(where, errno);
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sockaddr_size(address)) != 0 &&
      errno != EINPROGRESS) {
    const int error = errno;
    ::close(fd);
    return connect_error(where, error);
  }
  std::unique_ptr<TcpSide> side = TcpSide::create(loop, fd, address, /*connecting=*/true);
  if (side == nullptr) {
    return connect_error(where, errno);
  }
  return side;
}

Task<absl::StatusOr<std::unique_ptr<Side>>> connect_one(Loop& loop, std::string ip,
                                                        std::uint16_t port, Mono deadline) {
  const std::string where = format_address(ip, port);
  SLUICE_ASSIGN_OR_CO_RETURN(std::unique_ptr<Side> side, begin(loop, ip, port));
  Connecting connecting;
  side->set_user(&connecting);
  Timer timer([](void* w) { static_cast<Wait*>(w)->set(absl::DeadlineExceededError("deadline")); },
              &connecting.wait);
  loop.timers().arm(timer, deadline);
  absl::Status status = co_await connecting.wait.wait();
  side->set_user(nullptr);
  if (absl::IsDeadlineExceeded(status)) {
    co_return deadline_exceeded(fmt::format("connecting to {} took too long", where));
  }
  if (absl::IsUnavailable(status)) {
    // A socket that could not connect says so at its first read.
    std::string_view reason = message_of(status);
    constexpr std::string_view kReading = " while receiving";
    reason.remove_suffix(reason.ends_with(kReading) ? kReading.size() : 0);
    co_return connect_error(where, reason);
  }
  if (!status.ok()) {
    co_return status;
  }
  co_return side;
}

}  // namespace

Task<absl::StatusOr<std::unique_ptr<Side>>> connect(Loop& loop, Resolver& resolver,
                                                    ConnectTarget target, Mono deadline) {
  auto addresses = co_await resolver.resolve(loop, target.host, deadline);
  if (!addresses.ok()) {
    co_return addresses.status();
  }
  absl::StatusOr<std::unique_ptr<Side>> side = absl::UnavailableError("no address");
  for (std::size_t i = 0; i < addresses->size(); ++i) {
    // A silent address must leave time for the next one.
    const auto rest = static_cast<std::int64_t>(addresses->size() - i);
    const Mono now = loop.clock().now();
    const Mono part = deadline == kNever ? kNever : now + (deadline - now) / rest;
    side = co_await connect_one(loop, (*addresses)[i], target.port, part);
    if (side.ok() || absl::IsCancelled(side.status()) || loop.clock().now() >= deadline) {
      break;
    }
  }
  if (!side.ok() || target.tls == nullptr) {
    co_return side;
  }
  std::string name = target.server_name.empty() ? target.host : target.server_name;
  co_return co_await tls_connect(loop, *std::move(side), target.tls, std::move(name), deadline);
}

}  // namespace sluice::net
