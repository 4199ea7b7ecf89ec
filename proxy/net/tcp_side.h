// The plain TCP side. Only this folder makes them: acceptor.cc and connect.cc.
#pragma once

#include <sys/socket.h>

#include <memory>

#include "proxy/net/loop.h"
#include "proxy/net/side.h"

namespace sluice::net {

class TcpSide final : public Side, private PollHandler {
 public:
  // Owns `fd` (a non-blocking TCP socket) from here on and registers it. `connecting`: connect() is
  // under way; on_writable tells that it succeeded, on_error that it did not. Null if epoll refused
  // (errno stands, `fd` is closed).
  static std::unique_ptr<TcpSide> create(Loop& loop, int fd, PeerAddress peer, bool connecting);
  ~TcpSide() override;

  void set_user(SideUser* user) override;
  std::size_t write(ByteView bytes) override;
  void pause() override { paused_ = true; }
  void resume() override;
  void end() override;
  bool plain() const override { return true; }
  const PeerAddress& peer() const override { return peer_; }
  const PeerAddress& local() const override;

 private:
  TcpSide(Loop& loop, int fd, PeerAddress peer) : loop_(loop), fd_(fd), peer_(std::move(peer)) {}
  void on_ready(std::uint32_t events) override;
  void again();
  void fail(int error, const char* what);
  bool read(bool& gone);
  bool look_while_paused(bool& gone);
  bool tell_end(bool& gone);
  bool tell_error(bool& gone);
  void reach_end();

  // What a message touches comes first.
  Loop& loop_;
  int fd_;
  bool paused_ = true;
  bool readable_ = false;   // the kernel may have bytes, an end or an error
  bool last_edge_ = false;  // no further edge tells of the end: read on to it
  bool error_edge_ = false;
  bool queued_ = false;   // on the poller's ready list
  bool blocked_ = false;  // a write took less than all
  bool ended_ = false;    // the peer's direction
  bool end_told_ = false;
  bool error_told_ = false;
  SideUser* user_ = nullptr;
  bool* gone_ = nullptr;  // set while a callback runs, to hear of this object's end
  absl::Status error_;
  bool end_sent_ = false;
  PeerAddress peer_;
  mutable PeerAddress local_;
};

// The textual form; IPv4 addresses in IPv6 ones come out as IPv4.
PeerAddress to_peer_address(const sockaddr_storage& address);

// From a literal IP, also in brackets. INVALID_ARGUMENT names it.
absl::StatusOr<sockaddr_storage> to_sockaddr(const std::string& ip, std::uint16_t port);
socklen_t sockaddr_size(const sockaddr_storage& address);

// ADDR:PORT, IPv6 in brackets, for messages.
std::string format_address(const std::string& ip, std::uint16_t port);

// What errno says, in words.
std::string errno_text(int error);

}  // namespace sluice::net
