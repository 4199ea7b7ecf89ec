#include "proxy/filter/filter.h"

namespace sluice::filter {

Task<Verdict> Filter::open(Exchange&) { co_return Verdict::pass(); }
void Filter::reply(Exchange&, http::ResponseHead&) {}
Verdict Filter::data(Exchange&, const DataUnit&) { return Verdict::pass(); }
void Filter::undo(Exchange&, const DataUnit&) {}
Verdict Filter::recheck(Exchange&) { return Verdict::pass(); }
void Filter::close(Exchange&) {}

}  // namespace sluice::filter
