// Limits on messages and bytes, at four levels: API, resource, subscription, application.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "filters/throttling/counter.h"
#include "proxy/filter/filter.h"
#include "proxy/filter/registry.h"
#include "proxy/model/resources.h"

namespace sluice::filters::throttling {

void add_to(filter::FilterRegistry& registry);

// In the order in which a trip is named.
enum class Level : std::uint8_t { kApi, kResource, kSubscription, kApplication };
inline constexpr std::size_t kLevels = 4;

// A message passes if all levels admit it, and is then charged to all of them. A request to an HTTP
// API is one message.
class ThrottlingFilter final : public filter::Filter {
 public:
  // `table` outlives the filter.
  explicit ThrottlingFilter(CounterTable& table) : table_(table) {}

  // Refused while a level is used up. A handshake charges nothing; a request is charged here, with
  // its body where Content-Length tells its size.
  Task<filter::Verdict> open(filter::Exchange& exchange) override;
  filter::Verdict data(filter::Exchange& exchange, const filter::DataUnit& unit) override;
  void undo(filter::Exchange& exchange, const filter::DataUnit& unit) override;
  // Adopts changed plans; the counters stay.
  filter::Verdict recheck(filter::Exchange& exchange) override;

 private:
  // A level whose plan has a limit. Both live as long as counters_ and plans_ hold them.
  struct Limit {
    Counter* counter;
    const model::Plan* plan;
  };
  using Charges = std::array<Counter::Charge, kLevels>;

  filter::Verdict admit(filter::Exchange& exchange);
  filter::Verdict admit_request(filter::Exchange& exchange);
  filter::Verdict refuse(std::size_t index) const;
  void set_limits(filter::Exchange& exchange);
  void set_limit(Level level, const std::string& key);
  void give_back(const filter::Exchange& exchange, const filter::DataUnit& unit,
                 std::size_t count);
  filter::Verdict act(filter::Exchange& exchange, std::size_t index, const filter::DataUnit& unit);

  // What a message touches comes first: it is two cache lines.
  const Clock* clock_ = nullptr;
  std::array<Limit, kLevels> limits_{};  // the first limit_count_, in the order of levels
  std::uint8_t limit_count_ = 0;
  bool counts_bytes_ = false;            // some level limits them
  bool body_charged_ = false;            // a request's
  std::array<bool, 2> held_{};           // by direction: its next message was counted as delayed
  Charges charges_{};                    // of the message under way, as limits_
  std::array<Level, kLevels> levels_{};  // as limits_

  std::array<std::shared_ptr<Counter>, kLevels> counters_;         // by level
  std::array<std::shared_ptr<const model::Plan>, kLevels> plans_;  // null: none or not known
  CounterTable& table_;
};

}  // namespace sluice::filters::throttling
