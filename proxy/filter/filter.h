// A filter: five hooks on an exchange. Three lifetimes, three types: the FilterFactory is
// configured once and immutable, shared state lives in a SharedState, and a Filter belongs to one
// exchange.
#pragma once

#include <memory>
#include <string>

#include "proxy/base/status.h"
#include "proxy/base/task.h"
#include "proxy/filter/exchange.h"
#include "proxy/filter/verdict.h"
#include "proxy/http/head.h"

namespace sluice::filter {

// One exchange's object. Calls come from the worker's thread, in the order open, reply, data and
// recheck, close. Overriding a hook without naming it in FilterFactory::hooks() has no effect.
class Filter {
 public:
  virtual ~Filter() = default;

  // In chain order, once, before any byte reaches a backend. May await. kPass or kRefuse.
  virtual Task<Verdict> open(Exchange& exchange);

  // In reverse order, on the head that the client will get.
  virtual void reply(Exchange& exchange, http::ResponseHead& head);

  // A plain call for each data frame: no allocation, no lock, no await while it passes. Up: chain
  // order; down: reverse. kPass, kDrop, kHold or kClose; for frames that do not begin a message
  // only kPass and kClose count; the rest of a dropped message is not told at all, and a message
  // that was held is told again.
  virtual Verdict data(Exchange& exchange, const DataUnit& unit);

  // A later filter did not pass a message that this one's data() passed: give back what was
  // charged.
  virtual void undo(Exchange& exchange, const DataUnit& unit);

  // Something that the exchange depends on changed. kPass or kClose. exchange.api is already the
  // newest.
  virtual Verdict recheck(Exchange& exchange);

  // Always called once, also after a refusal or when open was never reached.
  virtual void close(Exchange& exchange);
};

// Which hooks a filter has; it pays only for these.
struct Hooks {
  bool open = false;
  bool reply = false;
  bool data = false;
  bool recheck = false;
  bool close = false;
};

// Immutable after creation; shared by all workers.
class FilterFactory {
 public:
  virtual ~FilterFactory() = default;
  virtual Hooks hooks() const = 0;
  virtual std::unique_ptr<Filter> make() const = 0;
};

}  // namespace sluice::filter
