// Who and what an exchange is, for its account, its records and the access log.
#pragma once

#include "proxy/filter/exchange.h"

namespace sluice::filter {

// What is known of it now; the user agent is gone once the relay runs.
telemetry::Facts facts_of(const Exchange& exchange);

}  // namespace sluice::filter
