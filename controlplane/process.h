// What runs in sluice-control.
#pragma once

#include <csignal>

#include "controlplane/options.h"

namespace sluice::controlplane {

// Serves until SIGTERM or SIGINT, which like SIGHUP (certificates are read again) must be in
// `signals` and blocked. Gives the exit status; what went wrong is logged.
int serve(const Options& options, const sigset_t& signals);

// `sluice-control reset-admin-password`.
int reset_admin_password(const Options& options);

}  // namespace sluice::controlplane
