// bench_relay: the yardstick. An edge-triggered epoll loop with one 64 KiB buffer that copies bytes
// between each accepted connection and one of its own to the backend, and knows nothing of them.
// With a certificate and its key it speaks TLS towards clients.
#include <fmt/core.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/bench/sockets.h"
#include "tests/bench/tls_end.h"

namespace sluice::bench {
namespace {

constexpr std::size_t kBufferBytes = 64 * 1024;
constexpr int kEventsPerTurn = 512;

struct Pair;

// One of a pair's two sockets. What a message touches is one cache line per socket; bytes are kept
// here only while the socket takes no more, and its peer is not read meanwhile.
struct End {
  Fd fd;
  bool read_ended = false;
  bool write_ended = false;
  bool peer_waits = false;  // the other end has bytes that did not fit here
  Pair* pair = nullptr;
  End* other = nullptr;
  std::unique_ptr<std::string> unsent;
  std::unique_ptr<TlsEnd> tls;
};

struct Pair {
  std::array<End, 2> ends;
  bool dead = false;
};

class Relay {
 public:
  // `tls`: null for plain TCP.
  Relay(Fd listener, Address backend, TlsContext tls)
      : epoll_(epoll_create1(EPOLL_CLOEXEC)),
        listener_(std::move(listener)),
        backend_(backend),
        tls_(std::move(tls)) {
    watch(epoll_, listener_, nullptr);
  }

  void run() {
    std::array<epoll_event, kEventsPerTurn> events;
    while (true) {
      const int count = epoll_wait(epoll_.get(), events.data(), kEventsPerTurn, -1);
      for (int i = 0; i < count; ++i) {
        if (events[i].data.ptr == nullptr) {
          accept_all();
        } else {
          handle(*static_cast<End*>(events[i].data.ptr), events[i].events);
        }
      }
      // Not at once: both ends of a pair may have an event in the same turn.
      for (Pair* pair : dead_) {
        delete pair;
      }
      dead_.clear();
    }
  }

 private:
  void accept_all() {
    while (true) {
      Fd client = accept_from(listener_);
      if (!client.open()) {
        return;
      }
      absl::StatusOr<Fd> backend = start_connect(backend_);
      if (!backend.ok()) {
        continue;
      }
      auto* pair = new Pair;  // owned by the two registrations; freed through dead_
      pair->ends[0].fd = std::move(client);
      pair->ends[1].fd = *std::move(backend);
      if (tls_ != nullptr) {
        pair->ends[0].tls = std::make_unique<TlsEnd>(*tls_);
      }
      for (int i = 0; i < 2; ++i) {
        pair->ends[i].pair = pair;
        pair->ends[i].other = &pair->ends[1 - i];
        watch(epoll_, pair->ends[i].fd, &pair->ends[i]);
      }
    }
  }

  void handle(End& end, std::uint32_t events) {
    if (end.pair->dead) {
      return;
    }
    if ((events & EPOLLOUT) != 0 && end.unsent != nullptr && !flush(end)) {
      kill(*end.pair);
    }
    if ((events & EPOLLERR) != 0) {
      kill(*end.pair);
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0) {
      pump(end, (events & (EPOLLRDHUP | EPOLLHUP)) != 0);
    }
  }

  // Moves what `from` has to its peer. A short read means that there is no more: what comes later
  // brings a new edge, so nothing is read in vain. `to_end` reads on all the same, for an end of
  // stream whose edge has been seen.
  void pump(End& from, bool to_end) {
    End& to = *from.other;
    while (!from.read_ended && !from.pair->dead) {
      if (to.unsent != nullptr) {
        to.peer_waits = true;
        return;
      }
      const ssize_t got = recv(from.fd.get(), buffer_.data(), buffer_.size(), 0);
      if (got < 0) {
        return errno == EAGAIN ? void() : kill(*from.pair);
      }
      if (got == 0) {
        from.read_ended = true;
        return end_writing(to);
      }
      if (!relay(from, to, {buffer_.data(), static_cast<std::size_t>(got)})) {
        return kill(*from.pair);
      }
      if (!to_end && static_cast<std::size_t>(got) < buffer_.size()) {
        return;
      }
    }
  }

  // False when either end is gone.
  bool relay(End& from, End& to, std::string_view bytes) {
    if (from.tls != nullptr) {
      cipher_.clear();
      const std::optional<std::size_t> size = from.tls->receive(bytes, clear_, cipher_);
      if (!size || !forward(from, cipher_)) {
        return false;
      }
      bytes = {clear_.data(), *size};
    }
    if (to.tls != nullptr && !bytes.empty()) {
      cipher_.clear();
      if (!to.tls->send(bytes, cipher_)) {
        return false;
      }
      bytes = cipher_;
    }
    return forward(to, bytes);
  }

  // False when the peer is gone.
  static bool forward(End& to, std::string_view bytes) {
    if (bytes.empty()) {
      return true;
    }
    if (to.unsent != nullptr) {
      to.unsent->append(bytes);
      return true;
    }
    ssize_t sent = send(to.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN) {
        return false;
      }
      sent = 0;
    }
    if (static_cast<std::size_t>(sent) < bytes.size()) {
      to.unsent = std::make_unique<std::string>(bytes.substr(static_cast<std::size_t>(sent)));
    }
    return true;
  }

  bool flush(End& end) {
    std::string& bytes = *end.unsent;
    const ssize_t sent = send(end.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      return errno == EAGAIN;
    }
    if (static_cast<std::size_t>(sent) < bytes.size()) {
      bytes.erase(0, static_cast<std::size_t>(sent));
      return true;
    }
    end.unsent.reset();
    if (end.other->read_ended) {
      end_writing(end);
    } else if (end.peer_waits) {
      end.peer_waits = false;
      pump(*end.other, true);
    }
    return true;
  }

  // The peer of `end` will send no more.
  void end_writing(End& end) {
    if (end.unsent != nullptr || end.write_ended) {
      return;
    }
    end.write_ended = true;
    if (end.read_ended) {
      return kill(*end.pair);
    }
    shutdown(end.fd.get(), SHUT_WR);
  }

  void kill(Pair& pair) {
    if (!pair.dead) {
      pair.dead = true;
      pair.ends[0].fd.reset();
      pair.ends[1].fd.reset();
      dead_.push_back(&pair);
    }
  }

  Fd epoll_;
  Fd listener_;
  Address backend_;
  TlsContext tls_;
  std::array<char, kBufferBytes> buffer_;
  std::array<char, kBufferBytes + TlsEnd::kRecordBytesMax> clear_;
  std::string cipher_;
  std::vector<Pair*> dead_;
};

int run(int argc, char** argv) {
  if (argc != 3 && argc != 5) {
    fmt::print(stderr, "usage: bench_relay LISTEN_ADDR:PORT BACKEND_ADDR:PORT [CERTIFICATE KEY]\n");
    return 2;
  }
  TlsContext tls(nullptr, SSL_CTX_free);
  if (argc == 5) {
    absl::StatusOr<TlsContext> made = make_server_context(argv[3], argv[4]);
    if (!made.ok()) {
      fmt::print(stderr, "bench_relay: {}\n", message_of(made.status()));
      return 2;
    }
    tls = *std::move(made);
  }
  const absl::StatusOr<Address> address = resolve(std::string_view(argv[1]));
  const absl::StatusOr<Address> backend = resolve(std::string_view(argv[2]));
  for (const absl::Status& status : {address.status(), backend.status()}) {
    if (!status.ok()) {
      fmt::print(stderr, "bench_relay: {}\n", message_of(status));
      return 2;
    }
  }
  absl::StatusOr<Fd> listener = listen_on(*address);
  if (!listener.ok()) {
    fmt::print(stderr, "bench_relay: {}: {}\n", argv[1], message_of(listener.status()));
    return 1;
  }
  raise_file_limit();
  announce("relay", *listener);
  auto relay = std::make_unique<Relay>(*std::move(listener), *backend, std::move(tls));
  relay->run();
  return 0;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) { return sluice::bench::run(argc, argv); }
