// From an accepted connection to its end, or to a live WebSocket.
#pragma once

#include <memory>

#include "proxy/config/snapshot.h"
#include "proxy/net/side.h"
#include "proxy/session/context.h"

namespace sluice::session {

// Serves one accepted connection of `listener`: requests to HTTP APIs one after another, until one
// is for a WebSocket API.
Task<void> serve(SessionContext& context, std::unique_ptr<net::Side> side,
                 std::shared_ptr<const config::CompiledListener> listener);

}  // namespace sluice::session
