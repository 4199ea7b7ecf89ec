// One end of a byte stream, as its user sees it: plain TCP, TLS, or an in-memory pipe. A relay
// joins two; coroutines read and write heads through the same (async_side.h).
#pragma once

#include <memory>
#include <string>

#include "proxy/base/bytes.h"
#include "proxy/base/status.h"

namespace sluice::net {

class Side;

// Who uses a Side. All calls come from the loop, never from within a call to the Side.
class SideUser {
 public:
  virtual ~SideUser() = default;

  // Bytes arrived. They lie in the loop's shared buffer, valid and writable during the call only;
  // at least kHeadroom writable bytes lie in front of them. What is not used by then must be
  // copied. Not called while paused.
  virtual void on_bytes(Side& side, MutableBytes bytes) = 0;

  // The peer has ended its direction (FIN, close_notify); no more on_bytes. Also called while
  // paused if nothing is left to read.
  virtual void on_end(Side& side) = 0;

  // The stream broke (reset, TLS failure); UNAVAILABLE. As on_end it comes after all bytes that
  // arrived before, so a paused side with unread bytes tells it after resume(). Nothing more is
  // called after it.
  virtual void on_error(Side& side, absl::Status status) = 0;

  // After write() took less than all: it would take more now.
  virtual void on_writable(Side& side) = 0;

  // In place of on_bytes while splice() is in force: `moved` bytes went from `side` to the other
  // one within the kernel, and `rest`, which came behind them, it did not take.
  virtual void on_spliced(Side& /*side*/, std::size_t /*moved*/, MutableBytes /*rest*/) {}
};

struct PeerAddress {
  std::string ip;  // textual, IPv6 without brackets; unix: for a unix socket; empty for a pipe
  std::uint16_t port = 0;
};

// ADDR:PORT, IPv6 in brackets; unix:/path as it is. For messages.
std::string format_address(const std::string& ip, std::uint16_t port);

// Single thread, the loop's. Destroying it, which is allowed within its own callbacks, closes the
// descriptor at once. What the kernel took still goes out, unless bytes of the peer were left
// unread: then TCP resets the connection and may lose it.
class Side {
 public:
  // Writable bytes in front of on_bytes' view.
  static constexpr std::size_t kHeadroom = 64;

  virtual ~Side() = default;

  // Who gets the calls from now on; null: nobody, and the side is paused. Resumes are explicit: a
  // new side is paused. May be changed at any time, also within a callback. An end or an error that
  // an earlier user was told, the new one is told again.
  virtual void set_user(SideUser* user) = 0;

  // Hands bytes to the kernel now and returns how many were taken (for TLS: encrypted and owned).
  // Less than all means: wait for on_writable, then go on. After an error everything is "taken" and
  // on_error follows. Not to be called after end().
  virtual std::size_t write(ByteView bytes) = 0;

  // Stop and start calling on_bytes. Bytes that arrive meanwhile stay in the kernel.
  virtual void pause() = 0;
  virtual void resume() = 0;

  // Moves the next `bytes` bytes that come to `to` within the kernel, without showing them; 0: no
  // more. Only where nothing is written to `to` meanwhile. False: cannot be done between these two
  // (TLS, a pipe), so they come through on_bytes.
  virtual bool splice(Side& /*to*/, std::uint64_t /*bytes*/) { return false; }

  // Ends our direction after what was written (FIN; TLS: close_notify first).
  virtual void end() = 0;

  // True for TCP without TLS (whether splice may be used, X-Forwarded-Proto).
  virtual bool plain() const = 0;

  virtual PeerAddress peer() const = 0;
  virtual PeerAddress local() const = 0;
};

}  // namespace sluice::net
