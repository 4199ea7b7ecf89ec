#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/base/wait.h"
#include "proxy/net/connect.h"
#include "proxy/net/tcp_side.h"

namespace sluice::net {
namespace {

using Addresses = std::vector<std::string>;

absl::StatusOr<Addresses> look_up(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
  if (failed != 0) {
    return unavailable(fmt::format(
        "cannot find the address of `{}`: {}", host,
        failed == EAI_SYSTEM ? errno_text(errno) : std::string(::gai_strerror(failed))));
  }
  Addresses addresses;
  for (const addrinfo* it = list; it != nullptr; it = it->ai_next) {
    if (it->ai_family != AF_INET && it->ai_family != AF_INET6) {
      continue;
    }
    sockaddr_storage address{};
    std::memcpy(&address, it->ai_addr, it->ai_addrlen);
    addresses.push_back(to_peer_address(address).ip);
  }
  ::freeaddrinfo(list);
  if (addresses.empty()) {
    return unavailable(fmt::format("`{}` has no IP address", host));
  }
  return addresses;
}

// Shared by the coroutine that waits and the thread that answers; the coroutine may leave first.
struct Lookup {
  Loop* loop;
  std::string host;
  Mono since;            // an answer from then on is good enough
  Mono now;              // of the asking loop
  Wait* wait = nullptr;  // the loop's thread only; null: nobody waits any more
  absl::StatusOr<Addresses> answer{Addresses()};
};

struct Cached {
  Addresses addresses;
  Mono at;
};

}  // namespace

struct Resolver::Impl {
  explicit Impl(LookUp how) : look_up(std::move(how)) {}
  ~Impl();
  absl::StatusOr<Addresses> admit(const std::string& host, Addresses addresses);
  bool find_cached(const std::string& host, Mono since, Addresses& addresses);
  bool enqueue(std::shared_ptr<Lookup> lookup);
  void serve();
  void answer(const std::shared_ptr<Lookup>& lookup);
  void warn_of_local(const Lookup& lookup) const;

  const LookUp look_up;
  std::atomic<bool> allow_local{true};
  std::atomic<std::uint64_t> refused_local{0};
  std::mutex mutex;  // guards all below
  std::condition_variable changed;
  std::deque<std::shared_ptr<Lookup>> queue;
  std::map<std::string, Cached> cache;
  bool stopping = false;
  std::thread thread;
};

Resolver::Impl::~Impl() {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    stopping = true;
  }
  changed.notify_one();
  if (thread.joinable()) {
    thread.join();
  }
}

bool Resolver::Impl::find_cached(const std::string& host, Mono since, Addresses& addresses) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto it = cache.find(host);
  if (it == cache.end() || it->second.at < since) {
    return false;
  }
  addresses = it->second.addresses;
  return true;
}

bool Resolver::Impl::enqueue(std::shared_ptr<Lookup> lookup) {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (queue.size() >= limits::kResolverQueueMax) {
      return false;
    }
    queue.push_back(std::move(lookup));
    if (!thread.joinable()) {
      thread = std::thread([this] { serve(); });
    }
  }
  changed.notify_one();
  return true;
}

void Resolver::Impl::serve() {
  std::unique_lock<std::mutex> lock(mutex);
  while (true) {
    changed.wait(lock, [this] { return stopping || !queue.empty(); });
    if (stopping) {
      return;
    }
    const std::shared_ptr<Lookup> lookup = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    answer(lookup);
    lock.lock();
  }
}

// Once a look-up, not once a connection.
void Resolver::Impl::warn_of_local(const Lookup& lookup) const {
  const auto local = std::find_if(lookup.answer->begin(), lookup.answer->end(),
                                  [](const auto& ip) { return is_link_local_or_metadata(ip); });
  if (!allow_local && local != lookup.answer->end()) {
    log::warning(
        "the name `{}` leads to {}, a link-local or metadata address: it is not connected to; if "
        "that is meant, set allow_local_endpoints of the gateway group",
        lookup.host, *local);
  }
}

absl::StatusOr<Addresses> Resolver::Impl::admit(const std::string& host, Addresses addresses) {
  if (allow_local.load(std::memory_order_relaxed)) {
    return addresses;
  }
  std::erase_if(addresses, is_link_local_or_metadata);
  if (addresses.empty()) {
    refused_local.fetch_add(1, std::memory_order_relaxed);
    return unavailable(
        fmt::format("`{}` leads to a link-local or metadata address; the gateway group does not "
                    "allow_local_endpoints",
                    host));
  }
  return addresses;
}

void Resolver::Impl::answer(const std::shared_ptr<Lookup>& lookup) {
  // Of many that asked for the same name at once, the first one's answer serves all.
  Addresses known;
  if (find_cached(lookup->host, lookup->since, known)) {
    lookup->answer = std::move(known);
  } else {
    lookup->answer = look_up(lookup->host);
    if (lookup->answer.ok()) {
      warn_of_local(*lookup);
    }
    if (lookup->answer.ok()) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (cache.size() >= limits::kResolverCacheMax) {
        cache.clear();
      }
      cache[lookup->host] = {*lookup->answer, lookup->now};
    }
  }
  lookup->loop->post([lookup] {
    if (lookup->wait != nullptr) {
      lookup->wait->set(absl::OkStatus());
    }
  });
}

Resolver::Resolver() : Resolver(look_up) {}
Resolver::Resolver(LookUp how) : impl_(std::make_unique<Impl>(std::move(how))) {}
Resolver::~Resolver() = default;

void Resolver::allow_local(bool allow) { impl_->allow_local = allow; }

std::uint64_t Resolver::refused_local() const { return impl_->refused_local; }

Task<absl::StatusOr<std::vector<std::string>>> Resolver::resolve(Loop& loop, std::string host,
                                                                 Mono deadline,
                                                                 nanoseconds age_max) {
  if (to_sockaddr(host, 0).ok()) {
    if (host.front() == '[') {
      host = host.substr(1, host.size() - 2);
    }
    co_return Addresses{std::move(host)};
  }
  const Mono since = loop.clock().now() - age_max;
  Addresses known;
  if (impl_->find_cached(host, since, known)) {
    co_return impl_->admit(host, std::move(known));
  }
  Wait wait;
  auto lookup = std::make_shared<Lookup>();
  lookup->loop = &loop;
  lookup->host = host;
  lookup->since = since;
  lookup->now = loop.clock().now();
  lookup->wait = &wait;
  if (!impl_->enqueue(lookup)) {
    co_return unavailable(fmt::format(
        "cannot find the address of `{}`: {} look-ups are waiting already (name server slow?)",
        host, limits::kResolverQueueMax));
  }
  Timer timer([](void* w) { static_cast<Wait*>(w)->set(deadline_exceeded("looking up a name")); },
              &wait);
  loop.timers().arm(timer, deadline);
  absl::Status status = co_await wait.wait();
  lookup->wait = nullptr;
  if (absl::IsDeadlineExceeded(status)) {
    co_return deadline_exceeded(fmt::format("looking up `{}` took too long", host));
  }
  if (!status.ok()) {
    co_return status;
  }
  if (!lookup->answer.ok()) {
    co_return lookup->answer.status();
  }
  co_return impl_->admit(host, *std::move(lookup->answer));
}

}  // namespace sluice::net
