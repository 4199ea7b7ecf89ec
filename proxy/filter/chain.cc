#include "proxy/filter/chain.h"

#include <algorithm>
#include <utility>

#include "proxy/base/check.h"

namespace sluice::filter {

FilterChain::FilterChain(std::vector<Entry> entries) : entries_(std::move(entries)) {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    SLUICE_CHECK(entries_[i].factory != nullptr);
    const Hooks hooks = entries_[i].factory->hooks();
    const auto index = static_cast<std::uint16_t>(i);
    const std::pair<bool, Indexes*> lists[] = {{hooks.open, &open_},
                                               {hooks.reply, &reply_},
                                               {hooks.data, &data_},
                                               {hooks.recheck, &recheck_},
                                               {hooks.close, &close_}};
    for (const auto& [has, list] : lists) {
      if (has) {
        list->push_back(index);
      }
    }
  }
}

FilterInstances::FilterInstances(std::shared_ptr<const FilterChain> chain)
    : chain_(std::move(chain)) {
  filters_.reserve(chain_->entries().size());
  for (const FilterChain::Entry& entry : chain_->entries()) {
    filters_.push_back(entry.factory->make());
  }
  find_data_hooks();
}

void FilterInstances::find_data_hooks() {
  data_.clear();
  data_.reserve(chain_->data_.size());
  for (const std::uint16_t i : chain_->data_) {
    data_.push_back(filters_[i].get());
  }
}

Task<Verdict> FilterInstances::open(Exchange& exchange) {
  for (const std::uint16_t i : chain_->open_) {
    Verdict verdict = co_await filters_[i]->open(exchange);
    if (!verdict.passes()) {
      co_return verdict;
    }
  }
  co_return Verdict::pass();
}

void FilterInstances::reply(Exchange& exchange, http::ResponseHead& head) {
  for (auto i = chain_->reply_.rbegin(); i != chain_->reply_.rend(); ++i) {
    filters_[*i]->reply(exchange, head);
  }
}

Verdict FilterInstances::data_up(Exchange& exchange, const DataUnit& unit) {
  for (std::size_t i = 0; i < data_.size(); ++i) {
    Verdict verdict = data_[i]->data(exchange, unit);
    if (!verdict.passes()) [[unlikely]] {
      while (i-- > 0) {
        data_[i]->undo(exchange, unit);
      }
      return verdict;
    }
  }
  return Verdict::pass();
}

Verdict FilterInstances::data_down(Exchange& exchange, const DataUnit& unit) {
  for (std::size_t i = data_.size(); i-- > 0;) {
    Verdict verdict = data_[i]->data(exchange, unit);
    if (!verdict.passes()) [[unlikely]] {
      while (++i < data_.size()) {
        data_[i]->undo(exchange, unit);
      }
      return verdict;
    }
  }
  return Verdict::pass();
}

Verdict FilterInstances::recheck(Exchange& exchange) {
  exchange.recheck_at = Wall::max();
  for (const std::uint16_t i : chain_->recheck_) {
    Verdict verdict = filters_[i]->recheck(exchange);
    if (!verdict.passes()) {
      return verdict;
    }
  }
  return Verdict::pass();
}

void FilterInstances::close(Exchange& exchange) {
  for (const std::uint16_t i : chain_->close_) {
    filters_[i]->close(exchange);
  }
}

void FilterInstances::adopt(const std::shared_ptr<const FilterChain>& chain) {
  if (chain == chain_) {
    return;
  }
  const std::vector<FilterChain::Entry>& mine = chain_->entries();
  const std::vector<FilterChain::Entry>& theirs = chain->entries();
  bool same_shape = mine.size() == theirs.size();
  std::vector<FilterChain::Entry> merged = mine;
  for (std::size_t i = 0; i < merged.size(); ++i) {
    const auto found = std::find_if(theirs.begin(), theirs.end(), [&](const auto& entry) {
      return entry.name == merged[i].name;
    });
    same_shape = same_shape && theirs[i].name == merged[i].name;
    if (found != theirs.end() && found->factory != merged[i].factory) {
      merged[i].factory = found->factory;
      filters_[i] = found->factory->make();
    }
  }
  // Where the shape is the same, all exchanges share the new chain; a merged one is this one's own.
  chain_ = same_shape ? chain : std::make_shared<const FilterChain>(std::move(merged));
  find_data_hooks();
}

}  // namespace sluice::filter
