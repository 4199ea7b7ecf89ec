#include "proxy/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "proxy/base/check.h"

namespace sluice {

Signals::Signals(net::Loop& loop, std::function<void(int)> on_signal)
    : loop_(loop), on_signal_(std::move(on_signal)) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    sigaddset(&signals, signal);
  }
  fd_ = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  SLUICE_CHECK(fd_ >= 0);
  SLUICE_CHECK(loop_.poller().add(fd_, *this));
}

Signals::~Signals() {
  loop_.poller().remove(*this);
  close(fd_);
}

void Signals::on_ready(std::uint32_t /*events*/) {
  signalfd_siginfo info;
  while (read(fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    on_signal_(static_cast<int>(info.ssi_signo));
  }
}

}  // namespace sluice
