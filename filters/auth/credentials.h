// The credential places of a handshake.
#pragma once

#include <string>
#include <vector>

#include "proxy/filter/exchange.h"

namespace sluice::filters::auth {

// Takes every credential out of the places that the exchange's API lists (request headers, target
// and exchange.query), so that no backend and no log sees one, and returns the different ones in
// the order of the places. A place that is not listed is left as it is. A credential that is there
// but unreadable is returned as an empty string. Sets exchange.answer_subprotocol where the only
// sub-protocol offered was ours.
std::vector<std::string> take_credentials(filter::Exchange& exchange);

}  // namespace sluice::filters::auth
