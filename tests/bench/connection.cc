#include "tests/bench/connection.h"

#include <fmt/core.h>

#include <charconv>
#include <cstring>

#include "proxy/base/encoding.h"
#include "tests/bench/handshake.h"

namespace sluice::bench {
namespace {

constexpr std::size_t kNoticeBytesMax = 512;
constexpr std::size_t kBodyBytesMax = 1024;
constexpr std::size_t kKeyBytes = 16;
constexpr std::uint16_t kNoCode = 1005;

std::string printable(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    c = c >= ' ' && c <= '~' ? c : '?';
  }
  return result;
}

}  // namespace

Connection::Connection(std::uint32_t id, const Target& target, std::string request_headers,
                       Shared& shared)
    : id_(id),
      shared_(shared),
      target_(target),
      check_(shared.pattern),
      request_headers_(std::move(request_headers)) {}

absl::Status Connection::start(const Fd& epoll) {
  started_at_ = shared_.now;
  SLUICE_RETURN_IF_ERROR(transport_.connect(target_, shared_.tls));
  watch(epoll, transport_.fd(), this);
  return absl::OkStatus();
}

void Connection::handle(std::uint32_t events) {
  if (stage_ == Stage::kConnecting) {
    const absl::StatusOr<bool> ready = transport_.ready();
    if (!ready.ok()) {
      ending_.error = message_of(ready.status());
      return end(true);
    }
    if (!*ready) {
      return;
    }
    send_request();
  }
  if ((events & EPOLLOUT) != 0) {
    flush();
  }
  // Data of a TLS connection may have come with the end of its handshake, without a new edge.
  const bool may_hold_data = !transport_.short_read_empties();
  if (may_hold_data || (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    read_all((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
  }
}

void Connection::send_request() {
  std::string raw(kKeyBytes, '\0');
  for (char& c : raw) {
    c = static_cast<char>(shared_.rng.next());
  }
  key_ = base64(raw);
  out_ = fmt::format(
      "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n{}\r\n",
      target_.path, target_.authority, key_, request_headers_);
  stage_ = Stage::kUpgrading;
  flush();
}

void Connection::read_all(bool to_end) {
  while (!ended()) {
    const ssize_t got = transport_.read(shared_.buffer);
    if (got == Transport::kLater) {
      break;
    }
    if (got == Transport::kEnded) {
      end(true);
      break;
    }
    take(shared_.buffer.first(static_cast<std::size_t>(got)));
    const bool short_read = static_cast<std::size_t>(got) < shared_.buffer.size();
    if (short_read && !to_end && transport_.short_read_empties()) {
      break;
    }
  }
  flush();
}

void Connection::take(MutableBytes bytes) {
  if (stage_ == Stage::kOpen) {
    reader_.feed(bytes, *this);
  } else if (stage_ == Stage::kUpgrading) {
    take_answer(bytes);
  }
}

void Connection::take_answer(MutableBytes bytes) {
  text_.append(as_text(bytes));
  const std::optional<std::size_t> size = head_size(text_);
  if (!size) {
    if (text_.size() > kHeadBytesMax) {
      fail("the answer's head is too large");
    }
    return;
  }
  const std::string answer = text_;
  const std::string_view head = std::string_view(answer).substr(0, *size);
  ending_.status = status_of(head);
  if (ending_.status != 101) {
    return take_refusal(head, std::string_view(answer).substr(*size));
  }
  text_ = std::string();
  check_upgrade(head);
  if (stage_ == Stage::kOpen) {
    shared_.events.on_open(*this);
    const std::size_t rest = answer.size() - *size;
    take(bytes.last(rest));
  }
}

void Connection::check_upgrade(std::string_view head) {
  if (header_value(head, "Sec-WebSocket-Accept") != accept_value(key_)) {
    fail("a 101 with a wrong Sec-WebSocket-Accept");
    return;
  }
  opened_at_ = shared_.now;
  stage_ = Stage::kOpen;
  key_ = std::string();
  request_headers_ = std::string();
}

void Connection::take_refusal(std::string_view head, std::string_view body) {
  ending_.body = body.substr(0, kBodyBytesMax);
  ending_.error = fmt::format("refused with status {}", ending_.status);
  const std::string_view text = header_value(head, "Content-Length");
  std::size_t length = kBodyBytesMax;
  std::from_chars(text.begin(), text.end(), length);
  if (body.size() >= std::min(length, kBodyBytesMax)) {
    end(true);
  }
}

bool Connection::on_header(const FrameHeader& header) {
  const bool control = header.opcode >= kClose;
  if (header.masked || header.reserved != 0) {
    return fail("a frame that is masked or has a reserved bit");
  }
  if (control) {
    control_.clear();
    const bool right = header.fin && header.length <= kControlPayloadBytesMax;
    return (right && header.opcode <= kPong) || fail("a malformed control frame");
  }
  const bool continues = header.opcode == kContinuation;
  if (header.opcode > kBinary || continues != (message_opcode_ != 0)) {
    return fail("a frame out of turn");
  }
  if (!continues) {
    message_opcode_ = header.opcode;
    text_.clear();
  }
  return true;
}

void Connection::on_payload(MutableBytes bytes, std::uint64_t) {
  if (reader_.header().opcode >= kClose) {
    control_.append(as_text(bytes));
  } else if (message_opcode_ == kBinary) {
    check_.feed(bytes);
  } else {
    text_.append(as_text(bytes.first(std::min(bytes.size(), kNoticeBytesMax - text_.size()))));
  }
}

bool Connection::on_end() {
  switch (reader_.header().opcode) {
    case kClose:
      on_close_frame();
      return false;
    case kPing:
      queue_control(kPong, control_);
      return true;
    case kPong:
      return true;
    default:
      if (reader_.header().fin) {
        on_message_end();
      }
      return !ended();
  }
}

void Connection::on_message_end() {
  const std::uint8_t opcode = std::exchange(message_opcode_, std::uint8_t{0});
  if (opcode == kBinary) {
    shared_.events.on_message(*this, check_.finish());
  } else {
    shared_.events.on_notice(*this, text_);
  }
}

void Connection::on_close_frame() {
  close_received_ = true;
  ending_.code = kNoCode;
  if (control_.size() >= 2) {
    ending_.code = static_cast<std::uint16_t>(static_cast<std::uint8_t>(control_[0]) << 8 |
                                              static_cast<std::uint8_t>(control_[1]));
    ending_.reason = printable(std::string_view(control_).substr(2));
  }
  if (!close_sent_) {
    ending_.by_peer = true;
    ending_.at = shared_.now;
    close_sent_ = true;
    queue_control(kClose, std::string_view(control_).substr(0, 2));
  }
}

void Connection::queue_message(const MessageId& id) {
  FrameHeader header;
  header.length = shared_.pattern.message_bytes();
  header.masked = true;
  header.mask = new_mask();
  append_frame({.opcode = kBinary, .masked = true, .length = header.length, .mask = header.mask},
               {}, out_);
  const std::size_t at = out_.size();
  out_.resize(at + header.length);
  auto* payload = reinterpret_cast<std::uint8_t*>(out_.data()) + at;
  shared_.pattern.fill(id, payload);
  apply_mask({payload, header.length}, header.mask, 0, payload);
}

void Connection::queue_close(std::uint16_t code) {
  if (!close_sent_) {
    close_sent_ = true;
    ending_.at = shared_.now;
    queue_control(kClose, close_payload(code, ""));
  }
}

void Connection::queue_control(Opcode opcode, std::string_view payload) {
  append_frame({.opcode = opcode, .masked = true, .length = payload.size(), .mask = new_mask()},
               as_bytes(payload), out_);
}

std::array<std::uint8_t, 4> Connection::new_mask() {
  const std::uint64_t chance = shared_.rng.next();
  std::array<std::uint8_t, 4> mask;
  std::memcpy(mask.data(), &chance, mask.size());
  return mask;
}

void Connection::flush() {
  if (stage_ != Stage::kUpgrading && stage_ != Stage::kOpen) {
    return;
  }
  while (out_sent_ < out_.size()) {
    const ssize_t sent = transport_.write(std::string_view(out_).substr(out_sent_));
    if (sent < 0) {
      return;  // a socket that is broken says so with its next event
    }
    out_sent_ += static_cast<std::size_t>(sent);
  }
  out_.clear();
  out_sent_ = 0;
}

void Connection::abort(std::string_view error) {
  if (!ended()) {
    ending_.error = error;
    end(false);
  }
}

bool Connection::fail(std::string_view error) {
  ending_.error = error;
  end(false);
  return false;
}

void Connection::end(bool by_peer) {
  if (!close_received_ && !close_sent_) {
    ending_.by_peer = by_peer;
  }
  if (ending_.at == Mono{}) {
    ending_.at = shared_.now;
  }
  if (ending_.error.empty() && !close_received_) {
    ending_.error = was_open() ? "ended without a close frame" : "ended during the handshake";
  }
  stage_ = Stage::kEnded;
  transport_.close();
}

}  // namespace sluice::bench
