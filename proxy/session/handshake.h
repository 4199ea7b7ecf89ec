// From an accepted connection to a live WebSocket or a refusal: the only coroutines of a session.
#pragma once

#include <memory>

#include "proxy/config/snapshot.h"
#include "proxy/net/side.h"
#include "proxy/session/context.h"

namespace sluice::session {

// Serves one accepted connection of `listener` up to its live relay, which the worker then keeps.
Task<void> serve(SessionContext& context, std::unique_ptr<net::Side> side,
                 std::shared_ptr<const config::CompiledListener> listener);

}  // namespace sluice::session
