// What scripts of other origins may do with an HTTP API (Fetch standard, section 3.2).
#pragma once

#include "proxy/http/head.h"
#include "proxy/model/resources.h"

namespace sluice::session {

// Whether `request` asks what it may do, rather than doing it.
bool is_preflight(const http::RequestHead& request);

// Whether pages of the request's Origin may use the API. True where there is none.
bool origin_allowed(const model::Api& api, const http::Headers& request);

// The answer to a preflight. `api.cors` is set and the origin allowed.
http::ResponseHead preflight_answer(const model::Api& api, const http::Headers& request);

// Replaces what `response` says about other origins. `api.cors` is set.
void set_cors(const model::Api& api, const http::Headers& request, http::Headers& response);

}  // namespace sluice::session
