// The TLS side. Only this folder makes them: tls_side.cc.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "proxy/base/wait.h"
#include "proxy/net/loop.h"
#include "proxy/net/side.h"
#include "proxy/net/tls.h"

namespace sluice::net {

// Stands between the plain side, which it owns and whose user it is, and its own user. OpenSSL
// reads from and writes to the loop's shared buffers through a BIO of ours, so a connection owns no
// buffer but what a blocked peer left.
class TlsSide final : public Side, private SideUser, private PollHandler {
 public:
  // `client`: null for a server. `peer`: the key of the client's sessions.
  TlsSide(Loop& loop, std::unique_ptr<Side> plain, SSL_CTX* context,
          std::shared_ptr<const TlsClientContext> client, std::string peer);
  ~TlsSide() override;

  // Begins the handshake; `wait` is set once when it has ended. `early`: what was read of the plain
  // side before.
  void start(Wait& wait, std::string early = "");
  void forget_wait() { wait_ = nullptr; }

  void set_user(SideUser* user) override;
  std::size_t write(ByteView bytes) override;
  void pause() override;
  void resume() override;
  void end() override;
  bool plain() const override { return false; }
  PeerAddress peer() const override { return plain_->peer(); }
  PeerAddress local() const override { return plain_->local(); }

  SSL* ssl() const { return ssl_; }

  // OpenSSL's callback: takes the reference if it returns 1.
  static int on_new_session(SSL* ssl, SSL_SESSION* session);

 private:
  friend struct SideBio;

  void on_bytes(Side& side, MutableBytes bytes) override;
  void on_end(Side& side) override;
  void on_error(Side& side, absl::Status status) override;
  void on_writable(Side& side) override;
  void on_ready(std::uint32_t events) override;

  void shake_hands();
  std::size_t decrypt();
  void keep_rest();
  void flush();
  bool deliver(bool& gone);
  void again();
  void fail(std::string_view what);

  Loop& loop_;
  std::unique_ptr<Side> plain_;
  SSL* ssl_;
  SideUser* user_ = nullptr;
  bool* gone_ = nullptr;
  ByteView input_;       // what OpenSSL may read now
  std::string held_;     // came with the end of the handshake, before there was a user
  std::string pending_;  // encrypted, not taken by the plain side
  bool established_ = false;
  bool paused_ = true;
  bool queued_ = false;
  bool blocked_ = false;  // a write took less than all
  bool ended_ = false;
  bool end_told_ = false;
  bool error_told_ = false;
  bool end_called_ = false;
  bool trim_ = false;  // a ticket came
  absl::Status error_;
  Wait* wait_ = nullptr;
  std::shared_ptr<const TlsClientContext> client_;
  std::string peer_name_;
};

}  // namespace sluice::net
