#include "proxy/net/tls_side.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "proxy/base/encoding.h"
#include "proxy/base/limits.h"
#include "proxy/net/tcp_side.h"

namespace sluice::net {

// What OpenSSL takes for a socket: reads come from the bytes at hand, writes go to the loop's
// buffer and always succeed.
struct SideBio {
  static int read(BIO* bio, char* out, int size) {
    auto* side = static_cast<TlsSide*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const std::size_t count = std::min(side->input_.size(), static_cast<std::size_t>(size));
    if (count == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    std::memcpy(out, side->input_.data(), count);
    side->input_ = side->input_.subspan(count);
    return static_cast<int>(count);
  }
  static int write(BIO* bio, const char* data, int size) {
    auto* side = static_cast<TlsSide*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    std::vector<std::uint8_t>& out = side->loop_.cipher_buffer();
    out.insert(out.end(), data, data + size);
    return size;
  }
  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }
  static int create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }

  static const BIO_METHOD* method() {
    static const BIO_METHOD* const made = [] {
      BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sluice side");
      SLUICE_CHECK(m != nullptr);
      BIO_meth_set_read(m, read);
      BIO_meth_set_write(m, write);
      BIO_meth_set_ctrl(m, control);
      BIO_meth_set_create(m, create);
      return m;
    }();
    return made;
  }
};

TlsSide::TlsSide(Loop& loop, std::unique_ptr<Side> plain, SSL_CTX* context,
                 std::shared_ptr<const TlsClientContext> client, std::string peer)
    : loop_(loop),
      plain_(std::move(plain)),
      ssl_(SSL_new(context)),
      client_(std::move(client)),
      peer_name_(std::move(peer)) {
  SLUICE_CHECK(ssl_ != nullptr);
  BIO* bio = BIO_new(SideBio::method());
  SLUICE_CHECK(bio != nullptr);
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_app_data(ssl_, this);
  if (client_ == nullptr) {
    SSL_set_accept_state(ssl_);
  } else {
    SSL_set_connect_state(ssl_);
  }
}

TlsSide::~TlsSide() {
  if (gone_ != nullptr) {
    *gone_ = true;
  }
  loop_.poller().remove(*this);
  // Else OpenSSL takes the session of a connection that was just dropped for a bad one.
  SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(ssl_);
}

int TlsSide::on_new_session(SSL* ssl, SSL_SESSION* session) {
  auto* side = static_cast<TlsSide*>(SSL_get_app_data(ssl));
  if (side->client_ == nullptr) {
    return 0;
  }
  side->client_->keep_session(side->peer_name_, session);
  side->trim_ = true;
  return 1;
}

void TlsSide::start(Wait& wait, std::string early) {
  wait_ = &wait;
  plain_->set_user(this);
  plain_->resume();
  if (client_ != nullptr) {
    shake_hands();
  } else if (!early.empty()) {
    on_bytes(*plain_, {reinterpret_cast<std::uint8_t*>(early.data()), early.size()});
  }
}

void TlsSide::shake_hands() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) {
    established_ = true;
    plain_->pause();
  } else if (SSL_get_error(ssl_, result) != SSL_ERROR_WANT_READ) {
    fail("TLS handshake");
  }
  flush();
  if ((established_ || !error_.ok()) && wait_ != nullptr) {
    std::exchange(wait_, nullptr)->set(error_);
  }
}

void TlsSide::fail(std::string_view what) {
  if (!error_.ok()) {
    return;
  }
  plain_->pause();
  const bool verifies = !established_ && SSL_get_verify_mode(ssl_) != SSL_VERIFY_NONE;
  const long verified = verifies ? SSL_get_verify_result(ssl_) : X509_V_OK;
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  if (verified != X509_V_OK) {
    error_ = unavailable(fmt::format("{}: certificate not accepted: {}", what,
                                     X509_verify_cert_error_string(verified)));
  } else {
    error_ = unavailable(fmt::format("{}: {}", what, reason == nullptr ? "broken" : reason));
  }
  ERR_clear_error();
}

void TlsSide::set_user(SideUser* user) {
  user_ = user;
  if (user == nullptr) {
    pause();
    return;
  }
  if (ended_ || !error_.ok()) {
    end_told_ = false;
    error_told_ = false;
    again();
  }
}

void TlsSide::again() {
  if (!queued_) {
    queued_ = true;
    loop_.poller().ready_again(*this, 0);
  }
}

void TlsSide::pause() {
  paused_ = true;
  plain_->pause();
}

void TlsSide::resume() {
  paused_ = false;
  if (!error_.ok()) {
    return;
  }
  if (held_.empty()) {
    plain_->resume();
  } else {
    again();
  }
}

std::size_t TlsSide::write(ByteView bytes) {
  SLUICE_DCHECK(!end_called_);
  if (!error_.ok()) {
    return bytes.size();
  }
  if (!pending_.empty()) {
    blocked_ = true;
    return 0;
  }
  std::size_t taken = 0;
  while (taken < bytes.size() && pending_.empty()) {
    const ByteView batch =
        bytes.subspan(taken, std::min(bytes.size() - taken, limits::kReadBufferBytes));
    std::size_t written = 0;
    ERR_clear_error();
    if (SSL_write_ex(ssl_, batch.data(), batch.size(), &written) != 1) {
      fail("TLS sending");
      flush();
      again();
      return bytes.size();
    }
    taken += written;
    flush();
  }
  blocked_ = taken < bytes.size();
  return taken;
}

// One send of all that OpenSSL has made.
void TlsSide::flush() {
  std::vector<std::uint8_t>& out = loop_.cipher_buffer();
  if (out.empty()) {
    return;
  }
  ByteView rest = out;
  if (pending_.empty()) {
    rest = rest.subspan(plain_->write(rest));
  }
  pending_.append(as_text(rest));
  out.clear();
  // Only answers to a peer that makes us answer and does not listen can be so many.
  if (pending_.size() > limits::kTlsPendingBytesMax) {
    fail("TLS: the peer does not read");
    again();
  }
}

void TlsSide::end() {
  if (end_called_) {
    return;
  }
  end_called_ = true;
  if (error_.ok() && established_) {
    ERR_clear_error();
    SSL_shutdown(ssl_);
    flush();
  }
  if (pending_.empty()) {
    plain_->end();
  }
}

void TlsSide::on_bytes(Side&, MutableBytes bytes) {
  bool gone = false;
  gone_ = &gone;
  input_ = bytes;
  if (!established_) {
    shake_hands();
    keep_rest();
    gone_ = nullptr;
    return;
  }
  if (!held_.empty()) {
    keep_rest();
    gone_ = nullptr;
    return;
  }
  if (deliver(gone)) {
    gone_ = nullptr;
  }
}

void TlsSide::on_end(Side&) {
  if (!established_) {
    if (wait_ != nullptr) {
      error_ = unavailable("TLS handshake: the peer closed the connection");
      std::exchange(wait_, nullptr)->set(error_);
    }
    return;
  }
  ended_ = true;
  on_ready(0);
}

void TlsSide::on_error(Side&, absl::Status status) {
  if (error_.ok()) {
    error_ = std::move(status);
  }
  if (wait_ != nullptr) {
    std::exchange(wait_, nullptr)->set(error_);
    return;
  }
  on_ready(0);
}

void TlsSide::on_writable(Side&) {
  if (!pending_.empty()) {
    const std::size_t taken = plain_->write(as_bytes(pending_));
    pending_.erase(0, taken);
    if (!pending_.empty()) {
      return;
    }
    std::string().swap(pending_);
    if (end_called_) {
      plain_->end();
    }
  }
  if (blocked_ && user_ != nullptr && !error_told_) {
    blocked_ = false;
    user_->on_writable(*this);
  }
}

void TlsSide::on_ready(std::uint32_t) {
  queued_ = false;
  if (user_ == nullptr || !established_) {
    return;
  }
  bool gone = false;
  gone_ = &gone;
  const bool held = !held_.empty() && !paused_;
  const std::string input = held ? std::exchange(held_, std::string()) : std::string();
  input_ = as_bytes(input);
  if (!deliver(gone)) {
    return;
  }
  gone_ = nullptr;
  if (held && !paused_ && held_.empty() && error_.ok()) {
    plain_->resume();
  }
}

// Decrypts the input and hands it to the user in one go, then the end or the error. False: this
// object is gone.
bool TlsSide::deliver(bool& gone) {
  const std::size_t size = input_.empty() ? 0 : decrypt();
  keep_rest();
  if (!held_.empty()) {
    again();
  }
  flush();
  if (size > 0 && user_ != nullptr) {
    user_->on_bytes(*this, loop_.clear_buffer().first(size));
    if (gone) {
      return false;
    }
  }
  if (ended_ && !end_told_ && held_.empty() && user_ != nullptr) {
    end_told_ = true;
    user_->on_end(*this);
    if (gone) {
      return false;
    }
  }
  if (!error_.ok() && !error_told_ && held_.empty() && user_ != nullptr) {
    error_told_ = true;
    user_->on_error(*this, error_);
  }
  return !gone;
}

// How many bytes of clear text lie in the loop's clear buffer.
std::size_t TlsSide::decrypt() {
  const MutableBytes out = loop_.clear_buffer();
  std::size_t size = 0;
  ERR_clear_error();
  // When all input is used up and no record half read out, another call could only fail.
  while (size < out.size() && (!input_.empty() || SSL_pending(ssl_) > 0)) {
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl_, out.data() + size, out.size() - size, &got);
    if (result == 1) {
      size += got;
      continue;
    }
    switch (SSL_get_error(ssl_, result)) {
      case SSL_ERROR_WANT_READ:
        break;
      case SSL_ERROR_ZERO_RETURN:
        ended_ = true;
        input_ = {};
        break;
      default:
        input_ = {};
        fail("TLS receiving");
    }
    break;
  }
  if (trim_) {
    // Taking a ticket sets up a write buffer that OpenSSL keeps until the next write.
    trim_ = false;
    SSL_free_buffers(ssl_);
  }
  return size;
}

void TlsSide::keep_rest() {
  if (!input_.empty()) {
    held_.append(as_text(input_));
  }
  input_ = {};
}

namespace {

Task<absl::StatusOr<std::unique_ptr<Side>>> finish(Loop& loop, std::unique_ptr<TlsSide> side,
                                                   Mono deadline, std::string early = "") {
  Wait wait;
  Timer timer([](void* w) { static_cast<Wait*>(w)->set(absl::DeadlineExceededError("")); }, &wait);
  loop.timers().arm(timer, deadline);
  side->start(wait, std::move(early));
  absl::Status status = co_await wait.wait();
  side->forget_wait();
  const std::string peer = format_address(side->peer().ip, side->peer().port);
  if (absl::IsDeadlineExceeded(status)) {
    co_return deadline_exceeded(fmt::format("the TLS handshake with {} took too long", peer));
  }
  if (absl::IsUnavailable(status)) {
    co_return unavailable(fmt::format("{} (peer {})", message_of(status), peer));
  }
  if (!status.ok()) {
    co_return status;
  }
  co_return side;
}

bool has_uri(X509* certificate, const std::string& uri) {
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  bool found = false;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type == GEN_URI) {
      const ASN1_IA5STRING* text = name->d.uniformResourceIdentifier;
      const std::string_view value(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                   static_cast<std::size_t>(ASN1_STRING_length(text)));
      found = found || value == uri;
    }
  }
  GENERAL_NAMES_free(names);
  return found;
}

// Whether the peer's certificate is for one of `names`.
bool has_name(SSL* ssl, const std::vector<std::string>& names) {
  X509* certificate = SSL_get0_peer_certificate(ssl);
  return certificate != nullptr &&
         std::any_of(names.begin(), names.end(), [certificate](const std::string& name) {
           return name.find("://") != std::string::npos ? has_uri(certificate, name)
                  : to_sockaddr(name, 0).ok()
                      ? X509_check_ip_asc(certificate, name.c_str(), 0) == 1
                      : X509_check_host(certificate, name.data(), name.size(),
                                        X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, nullptr) == 1;
         });
}

bool is_address(const std::string& name) { return to_sockaddr(name, 0).ok(); }

}  // namespace

Task<absl::StatusOr<std::unique_ptr<Side>>> tls_accept(Loop& loop, std::unique_ptr<Side> plain,
                                                       std::shared_ptr<const TlsServerContext> tls,
                                                       Mono deadline, std::string early) {
  auto side = std::make_unique<TlsSide>(loop, std::move(plain), tls->get(), nullptr, "");
  co_return co_await finish(loop, std::move(side), deadline, std::move(early));
}

Task<absl::StatusOr<std::unique_ptr<Side>>> tls_connect(Loop& loop, std::unique_ptr<Side> plain,
                                                        std::shared_ptr<const TlsClientContext> tls,
                                                        std::string server_name, Mono deadline) {
  const std::string peer = fmt::format("{}:{}", server_name, plain->peer().port);
  auto side = std::make_unique<TlsSide>(loop, std::move(plain), tls->get(), tls, peer);
  SSL* ssl = side->ssl();
  const bool checks_name = tls->subject_names().empty();
  if (!is_address(server_name)) {
    SSL_set_tlsext_host_name(ssl, server_name.c_str());
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (checks_name) {
      SSL_set1_host(ssl, server_name.c_str());
    }
  } else if (checks_name) {
    if (server_name.front() == '[') {
      server_name = server_name.substr(1, server_name.size() - 2);
    }
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), server_name.c_str());
  }
  if (SSL_SESSION* session = tls->take_session(peer)) {
    SSL_set_session(ssl, session);
    SSL_SESSION_free(session);
  }
  absl::StatusOr<std::unique_ptr<Side>> secure =
      co_await finish(loop, std::move(side), deadline);
  if (secure.ok() && !checks_name && !has_name(ssl, tls->subject_names())) {
    co_return unavailable(
        "TLS handshake: certificate not accepted: it has none of the subject_names");
  }
  co_return secure;
}

std::string peer_certificate_sha256(const Side& side) {
  const auto* tls = dynamic_cast<const TlsSide*>(&side);
  if (tls == nullptr) {
    return "";
  }
  const X509* certificate = SSL_get0_peer_certificate(tls->ssl());
  if (certificate == nullptr) {
    return "";
  }
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size <= 0) {
    return "";
  }
  const std::string_view bytes(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  std::string result = hex(sha256(bytes));
  OPENSSL_free(der);
  return result;
}

bool tls_resumed(const Side& side) {
  const auto* tls = dynamic_cast<const TlsSide*>(&side);
  return tls != nullptr && SSL_session_reused(tls->ssl()) == 1;
}

}  // namespace sluice::net
