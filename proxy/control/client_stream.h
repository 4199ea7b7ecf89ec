// One bidirectional gRPC stream as the control thread sees it: writes are queued, reads are asked
// for one at a time, and every event is posted.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_callback.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace sluice::control {

// Counts the streams that gRPC has not finished with. Any thread.
class Outstanding {
 public:
  void add() {
    const std::lock_guard lock(mutex_);
    ++count_;
  }
  // Notifies under the lock: the waiter may destroy this object as soon as it has returned.
  void remove() {
    const std::lock_guard lock(mutex_);
    --count_;
    none_.notify_all();
  }
  void wait_for_none() {
    std::unique_lock lock(mutex_);
    none_.wait(lock, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable none_;
  int count_ = 0;
};

// Owned by the control thread, on which all public calls and all events happen. May be destroyed
// once on_done was called or Outstanding has counted it out; what is posted after that does
// nothing.
template <class Request, class Response>
class ClientStream final : public grpc::ClientBidiReactor<Request, Response> {
 public:
  struct Events {
    std::function<void(Response)> on_response;  // ask for the next one with read()
    std::function<void()> on_writable;          // all writes are with the transport
    std::function<void(grpc::Status)> on_done;  // the last event; the stream may be destroyed in it
  };
  using Post = std::function<void(std::function<void()>)>;

  ClientStream(Events events, Post post, Outstanding& outstanding)
      : events_(std::move(events)), post_(std::move(post)), outstanding_(outstanding) {}

  grpc::ClientContext& context() { return context_; }

  // After the stub's async call has bound this reactor. The first response needs no read().
  void start() {
    outstanding_.add();
    this->AddHold();  // so that writes and reads may begin outside gRPC's callbacks
    reading_ = true;
    this->StartRead(&in_);
    this->StartCall();
  }

  void write(Request request) {
    {
      const std::lock_guard lock(mutex_);
      if (ended_ || write_failed_) {
        return;
      }
      queue_.push_back(std::move(request));
      if (writing_) {
        return;
      }
      take_next();
      this->AddHold();
    }
    // Not under the lock: gRPC may call back at once.
    this->StartWrite(&out_);
    this->RemoveHold();
  }

  void read() {
    {
      const std::lock_guard lock(mutex_);
      if (ended_ || reading_) {
        return;
      }
      reading_ = true;
      this->AddHold();
    }
    this->StartRead(&in_);
    this->RemoveHold();
  }

  // on_done follows.
  void cancel() {
    context_.TryCancel();
    {
      const std::lock_guard lock(mutex_);
      if (ended_ || reading_) {
        return;  // the read that is under way fails and lets go
      }
      ended_ = true;
    }
    this->RemoveHold();
  }

  // No event any more.
  void detach() { *attached_ = false; }

 private:
  void OnReadDone(bool ok) override {
    if (ok) {
      {
        const std::lock_guard lock(mutex_);
        reading_ = false;
      }
      post_event([this, response = std::make_shared<Response>(std::move(in_))] {
        events_.on_response(std::move(*response));
      });
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    this->RemoveHold();
  }

  void OnWriteDone(bool ok) override {
    bool drained = false;
    {
      const std::lock_guard lock(mutex_);
      if (!ok) {
        // The read side learns why.
        write_failed_ = true;
        writing_ = false;
        queue_.clear();
        return;
      }
      drained = queue_.empty();
      if (drained) {
        writing_ = false;
      } else {
        take_next();
      }
    }
    if (drained) {
      post_event([this] { events_.on_writable(); });
    } else {
      this->StartWrite(&out_);
    }
  }

  void OnDone(const grpc::Status& status) override {
    // The event may destroy this object while we are still here.
    Outstanding& outstanding = outstanding_;
    const Post post = post_;
    post([this, attached = attached_, status] {
      if (*attached) {
        const auto on_done = std::move(events_.on_done);
        on_done(status);
      }
    });
    outstanding.remove();
  }

  void take_next() {
    writing_ = true;
    out_ = std::move(queue_.front());
    queue_.pop_front();
  }

  void post_event(std::function<void()> event) {
    post_([attached = attached_, event = std::move(event)] {
      if (*attached) {
        event();
      }
    });
  }

  Events events_;
  Post post_;
  Outstanding& outstanding_;
  // Read and written on the control thread alone.
  std::shared_ptr<bool> attached_ = std::make_shared<bool>(true);
  grpc::ClientContext context_;
  Request out_;
  Response in_;

  std::mutex mutex_;  // guards what follows
  std::deque<Request> queue_;
  bool writing_ = false;
  bool reading_ = false;
  bool write_failed_ = false;
  bool ended_ = false;  // the hold of start() is or will be released
};

}  // namespace sluice::control
