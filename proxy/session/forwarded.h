// Who the client is, and what the backend is told about the way to it.
#pragma once

#include "proxy/config/snapshot.h"
#include "proxy/filter/exchange.h"
#include "proxy/net/side.h"

namespace sluice::session {

// Sets exchange.client_address (behind the listener's trusted hops: the last address in
// X-Forwarded-For that is not one of them) and rewrites X-Forwarded-For, -Proto, -Host and
// X-Request-Id in the request. From a peer that is no trusted hop none of them is believed. A
// trusted hop's X-Request-Id becomes exchange.id.
void apply_forwarded(filter::Exchange& exchange, const config::CompiledListener& listener,
                     const net::PeerAddress& peer);

}  // namespace sluice::session
