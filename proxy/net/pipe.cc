#include "proxy/net/pipe.h"

#include <algorithm>
#include <cstring>

#include "proxy/base/limits.h"

namespace sluice::net {
namespace {

class PipeSide final : public Side, private PollHandler {
 public:
  PipeSide(Loop& loop, std::shared_ptr<const PipeRules> rules)
      : loop_(loop), rules_(std::move(rules)) {}
  ~PipeSide() override;
  void join(PipeSide& other) { other_ = &other; }

  void set_user(SideUser* user) override;
  std::size_t write(ByteView bytes) override;
  void pause() override { paused_ = true; }
  void resume() override {
    paused_ = false;
    again();
  }
  void end() override;
  bool plain() const override { return true; }
  PeerAddress peer() const override { return {}; }
  PeerAddress local() const override { return {}; }

 private:
  void on_ready(std::uint32_t events) override;
  bool deliver(bool& gone);
  void again();

  Loop& loop_;
  std::shared_ptr<const PipeRules> rules_;
  PipeSide* other_ = nullptr;  // null: destroyed
  SideUser* user_ = nullptr;
  bool* gone_ = nullptr;
  std::string inbox_;  // written by the other
  bool paused_ = true;
  bool queued_ = false;
  bool blocked_ = false;
  bool end_called_ = false;
  bool ended_ = false;  // the other called end(); behind the inbox
  bool end_told_ = false;
  bool error_told_ = false;
  absl::Status error_;  // behind the inbox, too
};

PipeSide::~PipeSide() {
  if (gone_ != nullptr) {
    *gone_ = true;
  }
  loop_.poller().remove(*this);
  if (other_ == nullptr) {
    return;
  }
  other_->other_ = nullptr;
  // As TCP does: unread bytes make a reset, a close before the end an end.
  if (!inbox_.empty()) {
    other_->error_ = unavailable("Connection reset by peer while receiving");
  }
  other_->ended_ = true;
  other_->again();
}

void PipeSide::again() {
  if (!queued_) {
    queued_ = true;
    loop_.poller().ready_again(*this, 0);
  }
}

void PipeSide::set_user(SideUser* user) {
  user_ = user;
  if (user == nullptr) {
    paused_ = true;
    return;
  }
  end_told_ = false;
  error_told_ = false;
  again();
}

std::size_t PipeSide::write(ByteView bytes) {
  SLUICE_DCHECK(!end_called_);
  if (!error_.ok() || bytes.empty()) {
    return bytes.size();
  }
  if (other_ == nullptr) {
    error_ = unavailable("Broken pipe while sending");
    again();
    return bytes.size();
  }
  const std::size_t held = std::min(other_->inbox_.size(), rules_->buffer_bytes);
  const std::size_t taken = std::min(bytes.size(), rules_->buffer_bytes - held);
  other_->inbox_.append(as_text(bytes.first(taken)));
  blocked_ = taken < bytes.size();
  if (taken > 0) {
    other_->again();
  }
  return taken;
}

void PipeSide::end() {
  if (end_called_) {
    return;
  }
  end_called_ = true;
  if (other_ != nullptr) {
    other_->ended_ = true;
    other_->again();
  }
}

void PipeSide::on_ready(std::uint32_t) {
  queued_ = false;
  if (user_ == nullptr) {
    return;
  }
  bool gone = false;
  gone_ = &gone;
  if (!deliver(gone)) {
    return;
  }
  const bool room = other_ == nullptr || other_->inbox_.size() < rules_->buffer_bytes;
  if (blocked_ && room && user_ != nullptr && !error_told_) {
    blocked_ = false;
    user_->on_writable(*this);
    if (gone) {
      return;
    }
  }
  gone_ = nullptr;
}

// False: this object is gone.
bool PipeSide::deliver(bool& gone) {
  if (!inbox_.empty() && !paused_ && !end_told_) {
    const MutableBytes buffer = loop_.read_buffer();
    std::size_t size = std::min(inbox_.size(), buffer.size());
    if (rules_->chunk_bytes_max > 0) {
      size = std::min(size, rules_->chunk_bytes_max);
    }
    std::memcpy(buffer.data(), inbox_.data(), size);
    inbox_.erase(0, size);
    if (inbox_.empty()) {
      std::string().swap(inbox_);
    } else {
      again();
    }
    if (other_ != nullptr && other_->blocked_) {
      other_->again();
    }
    user_->on_bytes(*this, buffer.first(size));
    if (gone) {
      return false;
    }
  }
  if (!inbox_.empty() || user_ == nullptr) {
    return true;
  }
  if (!error_.ok() && !error_told_) {
    error_told_ = true;
    user_->on_error(*this, error_);
  } else if (ended_ && !end_told_ && error_.ok()) {
    end_told_ = true;
    user_->on_end(*this);
  }
  return !gone;
}

}  // namespace

std::pair<std::unique_ptr<Side>, std::unique_ptr<Side>> make_pipe(
    Loop& loop, std::shared_ptr<const PipeRules> rules) {
  auto a = std::make_unique<PipeSide>(loop, rules);
  auto b = std::make_unique<PipeSide>(loop, std::move(rules));
  a->join(*b);
  b->join(*a);
  return {std::move(a), std::move(b)};
}

}  // namespace sluice::net
