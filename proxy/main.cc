// sluice-proxy: see options.cc for the command line and process.h for what runs.
#include <csignal>
#include <utility>

#include "proxy/base/log.h"
#include "proxy/options.h"
#include "proxy/process.h"

int main(int argc, char** argv) {
  sluice::ParsedOptions parsed = sluice::parse_options(argc, argv);
  if (parsed.exit_status) {
    return *parsed.exit_status;
  }
  sluice::log::set_level(parsed.options.log_level);
  // Before any thread starts, so that all inherit it: signals arrive on the control loop alone.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    sigaddset(&signals, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  const bool validate = parsed.options.validate;
  sluice::Process process(std::move(parsed.options));
  return validate ? process.validate() : process.run();
}
