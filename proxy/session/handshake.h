// From a request's head to a live WebSocket or a refusal.
#pragma once

#include <memory>
#include <optional>

#include "proxy/session/client.h"

namespace sluice::session {

// Serves a request that is for a WebSocket API, or was refused before (`refused`), up to its live
// relay, which the worker then keeps. The client's connection is used up.
Task<void> shake_hands(Client& client, std::unique_ptr<Connection> connection,
                       std::optional<Refused> refused);

}  // namespace sluice::session
