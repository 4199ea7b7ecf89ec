// A chain compiled into one flat array per hook, and one exchange's filters in it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/filter/filter.h"

namespace sluice::filter {

// Immutable; part of the snapshot, one per listener and API.
class FilterChain {
 public:
  struct Entry {
    std::string name;  // unique in the chain
    std::shared_ptr<const FilterFactory> factory;
  };

  explicit FilterChain(std::vector<Entry> entries);

  const std::vector<Entry>& entries() const { return entries_; }
  bool has_data_hooks() const { return !data_.empty(); }

 private:
  friend class FilterInstances;
  using Indexes = std::vector<std::uint16_t>;  // into entries_, in chain order

  std::vector<Entry> entries_;
  Indexes open_, reply_, data_, recheck_, close_;
};

// The filters of one exchange. Worker thread.
class FilterInstances {
 public:
  explicit FilterInstances(std::shared_ptr<const FilterChain> chain);

  // The first verdict that does not pass ends it.
  Task<Verdict> open(Exchange& exchange);
  void reply(Exchange& exchange, http::ResponseHead& head);
  // Where a filter does not pass, those asked before it get undo.
  Verdict data(Exchange& exchange, const DataUnit& unit) {
    return unit.direction == Direction::kUp ? data_up(exchange, unit) : data_down(exchange, unit);
  }
  bool has_data_hooks() const { return !data_.empty(); }
  // The filter to ask in place of this when there is just one with a data hook; else null. Valid
  // until adopt().
  Filter* only_data_filter() const { return data_.size() == 1 ? data_.front() : nullptr; }
  // Sets exchange.recheck_at to max first. The caller has emptied exchange.subjects: each filter
  // names anew what it depends on.
  Verdict recheck(Exchange& exchange);
  void close(Exchange& exchange);

  // The exchange's API or listener was edited: filters of the same name get the new chain's
  // settings; the chain's shape stays. Not while open() waits. Where the factory changed, the
  // filter's object is made anew and neither its predecessor's close nor its own open is called:
  // what it needs lies in the exchange, and the recheck that must follow gives it the rest.
  void adopt(const std::shared_ptr<const FilterChain>& chain);

 private:
  Verdict data_up(Exchange& exchange, const DataUnit& unit);
  Verdict data_down(Exchange& exchange, const DataUnit& unit);
  void find_data_hooks();

  std::vector<Filter*> data_;  // in chain order; first, since a message touches it
  std::vector<std::unique_ptr<Filter>> filters_;
  std::shared_ptr<const FilterChain> chain_;
};

}  // namespace sluice::filter
