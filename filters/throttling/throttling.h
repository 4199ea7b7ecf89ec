// Limits on messages and bytes, at three levels: API, subscription, application.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "filters/throttling/counter.h"
#include "proxy/filter/filter.h"
#include "proxy/filter/registry.h"
#include "proxy/model/resources.h"

namespace sluice::filters::throttling {

void add_to(filter::FilterRegistry& registry);

// In the order in which a trip is named.
enum class Level : std::uint8_t { kApi, kSubscription, kApplication };
inline constexpr std::size_t kLevels = 3;

// A message passes if all levels admit it, and is then charged to all of them.
class ThrottlingFilter final : public filter::Filter {
 public:
  explicit ThrottlingFilter(std::shared_ptr<CounterTable> table) : table_(std::move(table)) {}

  // Charges nothing. Refused while a level is used up.
  Task<filter::Verdict> open(filter::Exchange& exchange) override;
  filter::Verdict data(filter::Exchange& exchange, const filter::DataUnit& unit) override;
  void undo(filter::Exchange& exchange, const filter::DataUnit& unit) override;
  // Adopts changed plans; the counters stay.
  filter::Verdict recheck(filter::Exchange& exchange) override;

 private:
  // A level whose plan has a limit.
  struct Limit {
    std::shared_ptr<Counter> counter;
    std::shared_ptr<const model::Plan> plan;
    Allowance allowance;
    Counter::Charge charge;  // of the message under way
    std::uint64_t charged_bytes = 0;
    Level level;
  };

  filter::Verdict admit(filter::Exchange& exchange);
  void set_limits(filter::Exchange& exchange);
  void set_limit(filter::Exchange& exchange, Level level, std::string key);
  void give_back(std::size_t count);
  model::LimitAction action(const filter::Exchange& exchange, const Limit& limit,
                            filter::Direction direction) const;
  std::uint64_t bytes_of(const filter::Exchange& exchange, const Limit& limit,
                         const filter::DataUnit& unit) const;
  filter::Verdict act(filter::Exchange& exchange, const Limit& limit, const filter::DataUnit& unit);

  std::vector<Limit> limits_;   // in the order of levels
  bool counts_bytes_ = false;   // some level limits them
  std::array<bool, 2> held_{};  // by direction: its next message was counted as delayed
  std::shared_ptr<CounterTable> table_;
  std::array<std::shared_ptr<const model::Plan>, kLevels> plans_;  // null: none or not known
};

}  // namespace sluice::filters::throttling
