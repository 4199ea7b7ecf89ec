// A chain compiled into one flat array per hook, and one exchange's filters in it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/filter/filter.h"

namespace sluice::filter {

// Immutable; part of the snapshot, one per listener and API.
class FilterChain {
 public:
  struct Entry {
    std::string name;
    std::shared_ptr<const FilterFactory> factory;
  };

  explicit FilterChain(std::vector<Entry> entries);

  const std::vector<Entry>& entries() const { return entries_; }
  bool has_data_hooks() const { return !data_.empty(); }

 private:
  friend class FilterInstances;
  std::vector<Entry> entries_;
  std::vector<std::uint16_t> open_, reply_, data_, recheck_, close_;  // indexes into entries_
};

// The filters of one exchange. Worker thread. `chain` must outlive it.
class FilterInstances {
 public:
  explicit FilterInstances(std::shared_ptr<const FilterChain> chain);

  Task<Verdict> open(Exchange& exchange);
  void reply(Exchange& exchange, http::ResponseHead& head);
  // Where a filter does not pass, those asked before it get undo.
  Verdict data(Exchange& exchange, const DataUnit& unit);
  bool has_data_hooks() const { return !data_.empty(); }
  Verdict recheck(Exchange& exchange);
  void close(Exchange& exchange);

  // The exchange's API was edited: filters of the same name get the new chain's settings (their
  // objects are made anew unless the factory is the same); the chain's shape stays.
  void adopt(const FilterChain& chain);

 private:
  std::shared_ptr<const FilterChain> chain_;
  std::vector<std::unique_ptr<Filter>> filters_;
  std::vector<Filter*> data_;  // in chain order
};

}  // namespace sluice::filter
