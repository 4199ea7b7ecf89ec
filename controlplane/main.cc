// sluice-control: see options.cc for the command line and process.cc for what runs, in order.
#include <csignal>

#include "controlplane/options.h"
#include "controlplane/process.h"

int main(int argc, char** argv) {
  const sluice::controlplane::Parsed parsed = sluice::controlplane::parse_options(argc, argv);
  if (!parsed.options) {
    return parsed.exit_status;
  }
  // Before any thread starts, so that all inherit it: signals are waited for on the main thread
  // alone.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    sigaddset(&signals, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return parsed.options->reset_admin_password
             ? sluice::controlplane::reset_admin_password(*parsed.options)
             : sluice::controlplane::serve(*parsed.options, signals);
}
