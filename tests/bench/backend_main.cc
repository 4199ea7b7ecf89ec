// bench_backend: echoes WebSocket frames and answers plain GETs with 1 KiB, with little CPU of its
// own: one read and one write per turn and connection, whatever the number of frames in it.
#include <fmt/core.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/bench/frames.h"
#include "tests/bench/handshake.h"
#include "tests/bench/sockets.h"

namespace sluice::bench {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;
constexpr std::size_t kBodyBytes = 1024;
constexpr int kEventsPerTurn = 512;

struct Client {
  Fd fd;
  bool upgraded = false;
  bool closing = false;  // nothing that comes is looked at any more
  bool blocked = false;  // does not read: `unsent` has to go first
  FrameReader reader;
  std::string head;    // the part of a request that has come
  std::string unsent;  // what the socket did not take
};

// Answers frames into `out`: data as it came but unmasked, a ping with its pong, a close with
// itself. Works frame part by frame part, so that messages of any size need no room.
class Echo {
 public:
  Echo(const FrameReader& reader, std::string& out) : reader_(reader), out_(out) {}

  bool on_header(FrameHeader header) {
    if (!header.masked || (header.opcode >= kClose && header.length > kControlPayloadBytesMax)) {
      append_frame({.opcode = kClose, .length = 2}, as_bytes(close_payload(1002, "")), out_);
      return false;
    }
    if (header.opcode == kPong) {
      return true;
    }
    header.masked = false;
    if (header.opcode == kPing) {
      header.opcode = kPong;
    }
    append_frame(header, {}, out_);
    return true;
  }

  void on_payload(MutableBytes bytes, std::uint64_t at) {
    const FrameHeader& header = reader_.header();
    if (header.opcode != kPong) {
      const std::size_t to = out_.size();
      out_.resize(to + bytes.size());
      apply_mask(bytes, header.mask, at, reinterpret_cast<std::uint8_t*>(out_.data()) + to);
    }
  }

  bool on_end() { return reader_.header().opcode != kClose; }

 private:
  const FrameReader& reader_;
  std::string& out_;
};

class Backend {
 public:
  explicit Backend(Fd listener)
      : epoll_(epoll_create1(EPOLL_CLOEXEC)), listener_(std::move(listener)), in_(kBufferBytes) {
    watch(epoll_, listener_, nullptr);
    answer_ =
        fmt::format("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{}",
                    kBodyBytes, std::string(kBodyBytes, 'x'));
  }

  void run() {
    std::array<epoll_event, kEventsPerTurn> events;
    while (true) {
      const int count = epoll_wait(epoll_.get(), events.data(), kEventsPerTurn, -1);
      for (int i = 0; i < count; ++i) {
        if (events[i].data.ptr == nullptr) {
          accept_all();
        } else {
          handle(static_cast<Client*>(events[i].data.ptr), events[i].events);
        }
      }
    }
  }

 private:
  void accept_all() {
    for (Fd fd = accept_from(listener_); fd.open(); fd = accept_from(listener_)) {
      auto client = std::make_unique<Client>();
      client->fd = std::move(fd);
      watch(epoll_, client->fd, client.get());
      client.release();  // owned by its registration; handle() frees it
    }
  }

  // One socket has one event in a turn, so a client can be freed at once.
  void handle(Client* client, std::uint32_t events) {
    bool alive = (events & EPOLLERR) == 0;
    bool to_end = (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
    if (alive && client->blocked && (events & EPOLLOUT) != 0) {
      out_.clear();
      alive = write(*client);
      to_end = true;
    }
    if (alive && !client->blocked) {
      alive = read(*client, to_end);
    }
    if (!alive) {
      delete client;
    }
  }

  // False when the connection is over.
  bool read(Client& client, bool to_end) {
    while (!client.blocked) {
      const ssize_t got = recv(client.fd.get(), in_.data(), in_.size(), 0);
      if (got <= 0) {
        return got < 0 && errno == EAGAIN;
      }
      out_.clear();
      const MutableBytes bytes(in_.data(), static_cast<std::size_t>(got));
      if (!take(client, bytes) || !write(client)) {
        return false;
      }
      if (!to_end && bytes.size() < in_.size()) {
        return true;
      }
    }
    return true;
  }

  bool take(Client& client, MutableBytes bytes) {
    if (client.closing) {
      return true;
    }
    if (client.upgraded) {
      Echo echo(client.reader, out_);
      client.closing = !client.reader.feed(bytes, echo);
      return true;
    }
    client.head.append(as_text(bytes));
    while (!client.upgraded) {
      const std::optional<std::size_t> size = head_size(client.head);
      if (!size) {
        return client.head.size() <= kHeadBytesMax;
      }
      answer(client, std::string_view(client.head).substr(0, *size));
      client.head.erase(0, *size);
    }
    std::string rest = std::exchange(client.head, std::string());
    return rest.empty() ||
           take(client, {reinterpret_cast<std::uint8_t*>(rest.data()), rest.size()});
  }

  void answer(Client& client, std::string_view head) {
    const std::string_view key = header_value(head, "Sec-WebSocket-Key");
    client.upgraded = !key.empty();
    if (client.upgraded) {
      out_ += fmt::format(
          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          "Sec-WebSocket-Accept: {}\r\n\r\n",
          accept_value(key));
    } else {
      out_ += answer_;
    }
  }

  // Sends what waits and `out_`. False when the connection is over.
  bool write(Client& client) {
    if (client.blocked) {
      client.unsent += out_;
    }
    std::string& bytes = client.blocked ? client.unsent : out_;
    if (!bytes.empty()) {
      ssize_t sent = send(client.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) {
        return false;
      }
      sent = std::max<ssize_t>(sent, 0);
      const bool was_blocked = client.blocked;
      client.blocked = static_cast<std::size_t>(sent) < bytes.size();
      if (client.blocked) {
        client.unsent = bytes.substr(static_cast<std::size_t>(sent));
      } else if (was_blocked) {
        client.unsent = std::string();
      }
    }
    if (client.closing && !client.blocked) {
      shutdown(client.fd.get(), SHUT_WR);
    }
    return true;
  }

  Fd epoll_;
  Fd listener_;
  std::vector<std::uint8_t> in_;
  std::string out_;
  std::string answer_;
};

int fail(std::string_view what, const absl::Status& status) {
  fmt::print(stderr, "bench_backend: {}: {}\n", what, message_of(status));
  return 1;
}

int run(int argc, char** argv) {
  int workers = 1;
  if (argc == 3) {
    const std::string_view text(argv[2]);
    std::from_chars(text.begin(), text.end(), workers);
  }
  if (argc < 2 || argc > 3 || workers < 1) {
    fmt::print(stderr, "usage: bench_backend LISTEN_ADDR:PORT [WORKERS]\n");
    return 2;
  }
  absl::StatusOr<Address> address = resolve(std::string_view(argv[1]));
  if (!address.ok()) {
    return fail(argv[1], address.status());
  }
  raise_file_limit();
  std::vector<Fd> listeners;
  for (int i = 0; i < workers; ++i) {
    absl::StatusOr<Fd> listener = listen_on(*address, workers > 1);
    if (!listener.ok()) {
      return fail(argv[1], listener.status());
    }
    listeners.push_back(*std::move(listener));
    address = local_address(listeners.front());  // the others share the port that the first one got
  }
  announce("backend", listeners.front());
  std::vector<std::jthread> threads;
  for (Fd& listener : listeners) {
    threads.emplace_back([fd = std::move(listener)]() mutable { Backend(std::move(fd)).run(); });
  }
  return 0;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) { return sluice::bench::run(argc, argv); }
