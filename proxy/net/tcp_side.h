// The plain TCP side. Only this folder makes them: acceptor.cc and connect.cc.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <new>

#include "proxy/net/loop.h"
#include "proxy/net/side.h"

namespace sluice::net {

class TcpSide final : public Side, private PollHandler {
 public:
  // Owns `fd` (a non-blocking TCP socket) from here on and registers it. `connecting`: connect() is
  // under way; on_writable tells that it succeeded, on_error that it did not. Null if epoll refused
  // (errno stands, `fd` is closed).
  static std::unique_ptr<TcpSide> create(Loop& loop, int fd, const sockaddr_storage& peer,
                                         bool connecting);
  ~TcpSide() override;
  // They lie in the loop's slab, a cache line each.
  static void operator delete(TcpSide* side, std::destroying_delete_t);

  void set_user(SideUser* user) override;
  std::size_t write(ByteView bytes) override;
  void pause() override { paused_ = true; }
  void resume() override;
  bool splice(Side& to, std::uint64_t bytes) override;
  void end() override;
  bool plain() const override { return true; }
  PeerAddress peer() const override;
  PeerAddress local() const override;

 private:
  // What few sides have.
  struct Rare {
    absl::Status error;
    sockaddr_storage peer{};
    TcpSide* splice_to = nullptr;
    std::uint64_t splice_left = 0;
  };

  TcpSide(Loop& loop, int fd, const sockaddr_storage& peer, bool connecting);
  static void* operator new(std::size_t, void* cell) { return cell; }
  Rare& rare();
  void on_ready(std::uint32_t events) override;
  void prefetch() const override { __builtin_prefetch(user_); }
  void again();
  void fail(int error, const char* what);
  void sending_failed(int error);
  bool read(bool& gone);
  ssize_t receive(std::size_t size_max);
  void pass_on(std::size_t size);
  std::size_t take_spliced(std::size_t size);
  bool look_while_paused(bool& gone);
  bool tell_end(bool& gone);
  bool tell_error(bool& gone);
  void reach_end();

  Loop& loop_;
  SideUser* user_ = nullptr;
  bool* gone_ = nullptr;  // set while a callback runs, to hear of this object's end
  std::unique_ptr<Rare> rare_;
  int fd_;
  std::uint32_t peer_ip_ = 0;    // an IPv4 address, as the kernel gives it; others are in rare_
  std::uint16_t peer_port_ = 0;  // likewise
  bool paused_ : 1 = true;
  bool readable_ : 1 = false;   // the kernel may have bytes, an end or an error
  bool last_edge_ : 1 = false;  // no further edge tells of the end: read on to it
  bool error_edge_ : 1 = false;
  bool queued_ : 1 = false;   // on the poller's ready list
  bool blocked_ : 1 = false;  // a write took less than all
  bool ended_ : 1 = false;    // the peer's direction
  bool end_told_ : 1 = false;
  bool failed_ : 1 = false;  // rare_ says how
  bool error_told_ : 1 = false;
  bool end_sent_ : 1 = false;
  bool splicing_ : 1 = false;  // rare_ says whereto
};

// The textual form; IPv4 addresses in IPv6 ones come out as IPv4.
PeerAddress to_peer_address(const sockaddr_storage& address);

// From a literal IP, also in brackets. INVALID_ARGUMENT names it.
absl::StatusOr<sockaddr_storage> to_sockaddr(const std::string& ip, std::uint16_t port);
socklen_t sockaddr_size(const sockaddr_storage& address);

// What errno says, in words.
std::string errno_text(int error);

}  // namespace sluice::net
