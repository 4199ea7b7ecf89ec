#include "proxy/net/tcp_side.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "proxy/base/limits.h"

namespace sluice::net {
namespace {

constexpr std::uint32_t kLastEdge = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

}  // namespace

std::unique_ptr<TcpSide> TcpSide::create(Loop& loop, int fd, const sockaddr_storage& peer,
                                         bool connecting) {
  std::unique_ptr<TcpSide> side(new (loop.tcp_sides().take()) TcpSide(loop, fd, peer, connecting));
  if (!loop.poller().add(fd, *side)) {
    return nullptr;
  }
  return side;
}

TcpSide::TcpSide(Loop& loop, int fd, const sockaddr_storage& peer, bool connecting)
    : loop_(loop), fd_(fd), blocked_(connecting) {
  static_assert(sizeof(TcpSide) <= Slab::kCellBytes);
  if (peer.ss_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &peer, sizeof(v4));
    peer_ip_ = v4.sin_addr.s_addr;
    peer_port_ = v4.sin_port;
  } else {
    rare().peer = peer;
  }
}

TcpSide::~TcpSide() {
  if (gone_ != nullptr) {
    *gone_ = true;
  }
  const int error = errno;
  loop_.poller().remove(*this);
  ::close(fd_);
  errno = error;
}

void TcpSide::operator delete(TcpSide* side, std::destroying_delete_t) {
  Slab& slab = side->loop_.tcp_sides();
  side->~TcpSide();
  slab.give(side);
}

TcpSide::Rare& TcpSide::rare() {
  if (rare_ == nullptr) {
    rare_ = std::make_unique<Rare>();
  }
  return *rare_;
}

void TcpSide::set_user(SideUser* user) {
  user_ = user;
  if (user == nullptr) {
    paused_ = true;
    splicing_ = false;
    return;
  }
  if (ended_ || failed_) {
    end_told_ = false;
    error_told_ = false;
    again();
  }
}

void TcpSide::again() {
  if (!queued_) {
    queued_ = true;
    loop_.poller().ready_again(*this, 0);
  }
}

void TcpSide::resume() {
  paused_ = false;
  if (readable_) {
    again();
  }
}

std::size_t TcpSide::write(ByteView bytes) {
  SLUICE_DCHECK(!end_sent_);
  if (failed_ || bytes.empty()) {
    return bytes.size();
  }
  ssize_t sent;
  do {
    sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) {
    blocked_ = static_cast<std::size_t>(sent) < bytes.size();
    return static_cast<std::size_t>(sent);
  }
  if (would_block(errno)) {
    blocked_ = true;
    return 0;
  }
  sending_failed(errno);
  return bytes.size();
}

void TcpSide::sending_failed(int error) {
  fail(error, "sending");
  // The reader goes on to the end first: what a peer said before it left is worth hearing.
  readable_ = true;
  last_edge_ = true;
  again();
}

bool TcpSide::splice(Side& to, std::uint64_t bytes) {
  auto* target = bytes > 0 ? dynamic_cast<TcpSide*>(&to) : nullptr;
  splicing_ = target != nullptr && loop_.splice_pipe().open();
  if (splicing_) {
    rare().splice_to = target;
    rare().splice_left = bytes;
  }
  return splicing_;
}

void TcpSide::end() {
  if (!end_sent_) {
    end_sent_ = true;
    ::shutdown(fd_, SHUT_WR);
  }
}

PeerAddress TcpSide::peer() const {
  if (rare_ != nullptr && rare_->peer.ss_family != AF_UNSPEC) {
    return to_peer_address(rare_->peer);
  }
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = peer_ip_;
  v4.sin_port = peer_port_;
  sockaddr_storage address{};
  std::memcpy(&address, &v4, sizeof(v4));
  return to_peer_address(address);
}

PeerAddress TcpSide::local() const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return {};
  }
  return to_peer_address(address);
}

void TcpSide::fail(int error, const char* what) {
  if (!failed_) {
    failed_ = true;
    rare().error = unavailable(fmt::format("{} while {}", errno_text(error), what));
  }
}

void TcpSide::on_ready(std::uint32_t events) {
  if (events == 0) {
    queued_ = false;
  }
  if ((events & kLastEdge) != 0) {
    last_edge_ = true;
    error_edge_ = error_edge_ || (events & EPOLLERR) != 0;
  }
  if ((events & (EPOLLIN | kLastEdge)) != 0) {
    readable_ = true;
  }
  if (user_ == nullptr) {
    return;
  }
  bool gone = false;
  gone_ = &gone;
  if (!read(gone)) {
    return;
  }
  if (blocked_ && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0 && user_ != nullptr &&
      !error_told_) {
    blocked_ = false;
    user_->on_writable(*this);
    if (gone) {
      return;
    }
  }
  gone_ = nullptr;
}

// As recv: into the loop's buffer, or its pipe.
ssize_t TcpSide::receive(std::size_t size_max) {
  if (splicing_) {
    // A short one says nothing here: the pipe's slots may have been full.
    return ::splice(fd_, nullptr, loop_.splice_pipe().in(), nullptr,
                    std::min<std::uint64_t>(size_max, rare_->splice_left),
                    SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  }
  const std::size_t size = std::min(loop_.read_buffer().size(), size_max);
  const ssize_t got = ::recv(fd_, loop_.read_buffer().data(), size, 0);
  if (got > 0 && static_cast<std::size_t>(got) < size && !last_edge_) {
    readable_ = false;
  }
  return got;
}

// Tells the user of what receive() got. This object may be gone afterwards.
void TcpSide::pass_on(std::size_t size) {
  if (!splicing_) {
    user_->on_bytes(*this, loop_.read_buffer().first(size));
    return;
  }
  rare_->splice_left -= size;
  splicing_ = rare_->splice_left > 0;
  const std::size_t moved = rare_->splice_to->take_spliced(size);
  // The pipe is everybody's: what the other side does not take now has to come out.
  std::vector<std::uint8_t> rest(size - moved);
  for (std::size_t done = 0; done < rest.size();) {
    const ssize_t got = ::read(loop_.splice_pipe().out(), rest.data() + done, rest.size() - done);
    SLUICE_CHECK(got > 0);
    done += static_cast<std::size_t>(got);
  }
  user_->on_spliced(*this, moved, rest);
}

// How much of the `size` bytes in the pipe the kernel took. After an error the rest is for write()
// to throw away.
std::size_t TcpSide::take_spliced(std::size_t size) {
  std::size_t taken = 0;
  while (taken < size && !failed_) {
    const ssize_t sent = ::splice(loop_.splice_pipe().out(), nullptr, fd_, nullptr, size - taken,
                                  SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (sent > 0) {
      taken += static_cast<std::size_t>(sent);
    } else if (sent < 0 && would_block(errno)) {
      break;
    } else if (sent == 0 || errno != EINTR) {
      sending_failed(sent == 0 ? EPIPE : errno);
    }
  }
  return taken;
}

// False: this object is gone.
bool TcpSide::read(bool& gone) {
  if (ended_ && !end_told_ && !tell_end(gone)) {
    return false;
  }
  std::size_t left = limits::kReadBytesPerTurnMax;
  while (readable_ && !error_told_) {
    if (paused_) {
      return !last_edge_ || look_while_paused(gone);
    }
    if (left == 0) {
      again();
      return true;
    }
    const ssize_t got = receive(left);
    if (got > 0) {
      const auto size = static_cast<std::size_t>(got);
      left -= size;
      pass_on(size);
      if (gone) {
        return false;
      }
      if (user_ == nullptr) {
        return true;
      }
      continue;
    }
    if (got < 0 && errno == EINTR) {
      continue;
    }
    readable_ = false;
    if (got < 0 && would_block(errno)) {
      break;
    }
    if (got < 0) {
      fail(errno, "receiving");
      break;
    }
    reach_end();
    if (ended_ && !end_told_ && !tell_end(gone)) {
      return false;
    }
  }
  return !failed_ || error_told_ || user_ == nullptr || readable_ || tell_error(gone);
}

// A paused side whose last edge has come hears of the end all the same, if no byte is before it.
bool TcpSide::look_while_paused(bool& gone) {
  std::uint8_t byte;
  const ssize_t got = ::recv(fd_, &byte, 1, MSG_PEEK);
  if (got > 0 || (got < 0 && (would_block(errno) || errno == EINTR))) {
    return true;
  }
  readable_ = false;
  if (got < 0) {
    fail(errno, "receiving");
  } else {
    reach_end();
  }
  if (ended_ && !end_told_ && !tell_end(gone)) {
    return false;
  }
  return !failed_ || error_told_ || user_ == nullptr || tell_error(gone);
}

// recv has returned 0. After a FIN it does so for a reset, too.
void TcpSide::reach_end() {
  if (error_edge_) {
    error_edge_ = false;
    int error = 0;
    socklen_t size = sizeof(error);
    if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error != 0) {
      fail(error, "receiving");
    }
  }
  ended_ = ended_ || !failed_;
}

bool TcpSide::tell_end(bool& gone) {
  end_told_ = true;
  user_->on_end(*this);
  return !gone;
}

bool TcpSide::tell_error(bool& gone) {
  error_told_ = true;
  user_->on_error(*this, rare_->error);
  return !gone;
}

}  // namespace sluice::net
