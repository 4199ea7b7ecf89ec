// A client's request as a backend gets it.
#pragma once

#include "proxy/filter/exchange.h"
#include "proxy/http/head.h"
#include "proxy/model/resources.h"

namespace sluice::session {

// The endpoint's path and the topic joined with one slash, the query, the endpoint's Host, and no
// field that concerns the client's connection alone. The caller frames the body.
http::RequestHead request_for(const filter::Exchange& exchange, const model::Endpoint& endpoint);

}  // namespace sluice::session
