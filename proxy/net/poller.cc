#include "proxy/net/poller.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "proxy/base/check.h"

namespace sluice::net {
namespace {

int to_timeout(nanoseconds wait) {
  constexpr std::int64_t kMax = 60'000;  // a look around once a minute costs nothing
  if (wait <= nanoseconds(0)) {
    return 0;
  }
  return static_cast<int>(std::min<std::int64_t>((wait.count() - 1) / 1'000'000 + 1, kMax));
}

}  // namespace

Poller::Poller()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), event_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  SLUICE_CHECK(epoll_ >= 0 && event_fd_ >= 0);
  epoll_event event{};
  // Edge-triggered, so it need never be read: every write is an edge.
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = nullptr;
  SLUICE_CHECK(::epoll_ctl(epoll_, EPOLL_CTL_ADD, event_fd_, &event) == 0);
}

Poller::~Poller() {
  ::close(event_fd_);
  ::close(epoll_);
}

bool Poller::add(int fd, PollHandler& handler) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &handler;
  return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0;
}

void Poller::remove(PollHandler& handler) {
  for (std::size_t i = 0; i < events_count_; ++i) {
    if (events_[i].data.ptr == &handler) {
      events_[i].data.ptr = nullptr;
    }
  }
  for (Again& again : dispatching_) {
    if (again.handler == &handler) {
      again.handler = nullptr;
    }
  }
  std::erase_if(again_, [&](const Again& again) { return again.handler == &handler; });
}

void Poller::ready_again(PollHandler& handler, std::uint32_t events) {
  again_.push_back({&handler, events});
}

void Poller::wait(nanoseconds wait_max) {
  const int timeout = again_.empty() ? to_timeout(wait_max) : 0;
  const int count = ::epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), timeout);
  events_count_ = count > 0 ? static_cast<std::size_t>(count) : 0;  // EINTR: an empty turn
}

void Poller::dispatch() {
  dispatching_.swap(again_);
  for (std::size_t i = 0; i < events_count_; ++i) {
    // With many connections none is in the cache: the one after the next is fetched now, and what
    // the next one needs, while this one is served.
    if (i + 2 < events_count_) {
      __builtin_prefetch(events_[i + 2].data.ptr);
    }
    if (i + 1 < events_count_ && events_[i + 1].data.ptr != nullptr) {
      static_cast<PollHandler*>(events_[i + 1].data.ptr)->prefetch();
    }
    if (auto* handler = static_cast<PollHandler*>(events_[i].data.ptr)) {
      handler->on_ready(events_[i].events);
    }
  }
  events_count_ = 0;
  for (std::size_t i = 0; i < dispatching_.size(); ++i) {
    if (PollHandler* handler = dispatching_[i].handler) {
      handler->on_ready(dispatching_[i].events);
    }
  }
  dispatching_.clear();
}

void Poller::wake() {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then it is awake.
  (void)!::write(event_fd_, &one, sizeof(one));
}

}  // namespace sluice::net
