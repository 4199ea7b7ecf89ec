// A request to an HTTP API, from its routed head to its record.
#pragma once

#include <memory>

#include "proxy/session/client.h"

namespace sluice::session {

// Answers one request whose API is of type HTTP. Whether the client's connection can take another.
Task<bool> serve_request(Client& client, std::unique_ptr<Connection> connection);

}  // namespace sluice::session
