// Signals as events of a loop.
#pragma once

#include <functional>

#include "proxy/net/loop.h"
#include "proxy/net/poller.h"

namespace sluice {

// TERM, INT and HUP, which must be blocked in every thread. Loop thread.
class Signals final : public net::PollHandler {
 public:
  Signals(net::Loop& loop, std::function<void(int signal)> on_signal);
  ~Signals() override;
  void on_ready(std::uint32_t events) override;

 private:
  net::Loop& loop_;
  std::function<void(int)> on_signal_;
  int fd_ = -1;
};

}  // namespace sluice
