// Planted bugs: wrong turns behind a build flag, so that the simulation can prove that it would
// find them. Without SLUICE_PLANTS every plant is `false` and costs nothing.
#pragma once

#ifdef SLUICE_PLANTS

namespace sluice::plants {

enum class Plant {
  kNone,
  kSkippedRecheck,    // a change misses the last of the connections that it concerns
  kAckBeforeInForce,  // a response is answered before the workers serve it
  kLostRecord,        // a record disappears between recorder and sink
  kDoubledRecord,     // a record is stored again when it is sent again
  kOneTooMany,        // a plan of N lets N + 1 through
  kHalfApplied,       // an edited API keeps its old endpoints
  kRefusalStopsAll,   // one bad resource keeps the good ones of its response out
  kTimerNeverFires,   // a timer is armed and forgotten
  kUsesEjected,       // an endpoint that is not well gets new work
  kBreakerOneTooMany,  // a breaker of N lets N + 1 through
  kRetriesUnbounded,  // tries go on beyond their budget
};

inline Plant active = Plant::kNone;

}  // namespace sluice::plants

#define SLUICE_PLANT(name) (::sluice::plants::active == ::sluice::plants::Plant::name)
#else
#define SLUICE_PLANT(name) false
#endif
