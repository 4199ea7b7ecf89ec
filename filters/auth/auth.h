// Who a client is, and whether it may use the API: at the handshake, and for as long as it lives.
#pragma once

#include <optional>

#include "proxy/filter/filter.h"
#include "proxy/filter/registry.h"
#include "proxy/model/resources.h"

namespace sluice::filters::auth {

void add_to(filter::FilterRegistry& registry);

class AuthFilter final : public filter::Filter {
 public:
  // Takes the credentials out of the request, checks API, origin, token, application and
  // subscription in this order, and sets exchange.principal (not for a PROTOTYPED API, which is
  // open).
  Task<filter::Verdict> open(filter::Exchange& exchange) override;
  // From what the directory knows now; what it does not know is taken to be as it was.
  filter::Verdict recheck(filter::Exchange& exchange) override;
};

}  // namespace sluice::filters::auth
