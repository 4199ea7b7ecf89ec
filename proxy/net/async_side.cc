#include "proxy/net/async_side.h"

#include <utility>

#include "proxy/base/check.h"

namespace sluice::net {

AsyncSide::AsyncSide(Loop& loop, std::unique_ptr<Side> side, std::string unread)
    : loop_(loop),
      side_(std::move(side)),
      buffer_(std::move(unread)),
      timer_([](void* self) { static_cast<AsyncSide*>(self)->wake(); }, this) {
  side_->set_user(this);
}

AsyncSide::~AsyncSide() = default;

// A value that nobody waits for would end the next wait too early.
void AsyncSide::wake() {
  if (wait_.waiting()) {
    wait_.set(absl::OkStatus());
  }
}

Task<absl::Status> AsyncSide::wait_until(Mono deadline) {
  loop_.timers().arm(timer_, deadline);
  absl::Status status = co_await wait_.wait();
  timer_.cancel();
  co_return status;
}

Task<absl::Status> AsyncSide::read_more(std::size_t bytes_max, Mono deadline) {
  buffer_.erase(0, consumed_);
  consumed_ = 0;
  const std::size_t before = buffer_.size();
  if (before >= bytes_max) {
    co_return absl::ResourceExhaustedError("the peer sent more than is taken");
  }
  if (before == 0) {
    std::string().swap(buffer_);
  }
  unread_max_ = 0;
  absl::Status status;
  while (status.ok() && buffer_.size() == before) {
    if (!error_.ok()) {
      co_return error_;
    }
    if (ended_) {
      co_return absl::OutOfRangeError("the peer ended the stream");
    }
    if (loop_.clock().now() >= deadline) {
      side_->pause();
      co_return absl::DeadlineExceededError("the peer sent nothing in time");
    }
    side_->resume();
    status = co_await wait_until(deadline);
  }
  side_->pause();
  co_return status;
}

void AsyncSide::consume(std::size_t bytes) {
  SLUICE_CHECK(bytes <= buffer_.size() - consumed_);
  consumed_ += bytes;
}

Task<absl::Status> AsyncSide::write_all(std::string_view bytes, Mono deadline) {
  while (true) {
    if (!error_.ok()) {
      co_return error_;
    }
    const std::size_t taken = side_->write(as_bytes(bytes));
    bytes.remove_prefix(taken);
    if (bytes.empty()) {
      co_return absl::OkStatus();
    }
    writable_ = false;
    while (!writable_ && error_.ok()) {
      if (loop_.clock().now() >= deadline) {
        co_return absl::DeadlineExceededError("the peer took nothing in time");
      }
      absl::Status status = co_await wait_until(deadline);
      if (!status.ok()) {
        co_return status;
      }
    }
  }
}

Task<absl::Status> AsyncSide::wait_end(std::size_t bytes_max) {
  unread_max_ = bytes_max;
  absl::Status status;
  if (unread().size() < bytes_max) {
    side_->resume();
  }
  while (status.ok() && error_.ok() && !ended_) {
    status = co_await wait_until(kNever);
  }
  side_->pause();
  if (!status.ok()) {
    co_return status;
  }
  co_return error_.ok() ? absl::OutOfRangeError("the peer ended the stream") : error_;
}

std::unique_ptr<Side> AsyncSide::release(std::string& rest) {
  side_->set_user(nullptr);
  buffer_.erase(0, consumed_);
  consumed_ = 0;
  rest = std::move(buffer_);
  buffer_.clear();
  return std::move(side_);
}

void AsyncSide::on_bytes(Side& side, MutableBytes bytes) {
  buffer_.append(as_text(bytes));
  if (unread().size() >= unread_max_) {
    side.pause();
  }
  wake();
}

void AsyncSide::on_end(Side&) {
  ended_ = true;
  wake();
}

void AsyncSide::on_error(Side&, absl::Status status) {
  error_ = std::move(status);
  wake();
}

void AsyncSide::on_writable(Side&) {
  writable_ = true;
  wake();
}

}  // namespace sluice::net
