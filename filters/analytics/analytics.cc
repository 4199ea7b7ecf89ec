#include "filters/analytics/analytics.h"

#include <memory>
#include <utility>

#include "filters/analytics/analytics.pb.h"
#include "proxy/filter/config.h"
#include "proxy/filter/facts.h"
#include "proxy/filter/filter.h"

namespace sluice::filters::analytics {
namespace {

using filter::Exchange;
using telemetry::Part;

constexpr int kSwitchingProtocols = 101;

telemetry::Record record_of(const Exchange& exchange, Part part) {
  const filter::Ending& ending = exchange.ending;
  telemetry::Record record;
  record.part = part;
  record.facts = filter::facts_of(exchange);
  record.end = exchange.services->clock->wall();
  record.status = ending.status;
  record.code = ending.refusal_code.value_or(0);
  record.close_code = ending.close_code;
  record.close_side = ending.close_side;
  record.reason = ending.reason;
  return record;
}

class AnalyticsFilter final : public filter::Filter {
 public:
  explicit AnalyticsFilter(bool refused) : refused_(refused) {}

  // The account is opened here and not before, because only now all that it says is known. A
  // request's is no slot at first: most are over before anybody would look, and the session moves
  // the others into one.
  void reply(Exchange& exchange, http::ResponseHead& head) override {
    const bool request = exchange.api->type == model::ApiType::kHttp;
    if ((head.status != kSwitchingProtocols && !request) || exchange.account != nullptr) {
      return;
    }
    if (!request) {
      exchange.account = exchange.services->open_account(filter::facts_of(exchange));
    }
    if (exchange.account == nullptr) {
      exchange.spare_account = std::make_unique<telemetry::Account>();
      exchange.account = exchange.spare_account.get();
    }
  }

  void close(Exchange& exchange) override {
    telemetry::Account* account = std::exchange(exchange.account, nullptr);
    if (account == nullptr) {
      // A client that left before any answer was not refused; nor was a preflight.
      const bool request = exchange.api->type == model::ApiType::kHttp;
      const bool refused =
          request ? exchange.ending.refusal_code.has_value() : exchange.ending.status != 0;
      if (refused_ && refused) {
        exchange.services->emit(record_of(exchange, Part::kRefused));
      }
      return;
    }
    if (account != exchange.spare_account.get()) {
      exchange.services->close_account(account, exchange.ending);
      return;
    }
    telemetry::Record record = record_of(exchange, Part::kFinal);
    record.counts = account->counts();
    exchange.services->emit(std::move(record));
    exchange.spare_account.reset();
  }

 private:
  bool refused_;
};

class AnalyticsFactory final : public filter::FilterFactory {
 public:
  explicit AnalyticsFactory(bool refused) : refused_(refused) {}

  filter::Hooks hooks() const override { return {.reply = true, .close = true}; }
  std::unique_ptr<filter::Filter> make() const override {
    return std::make_unique<AnalyticsFilter>(refused_);
  }

 private:
  bool refused_;
};

}  // namespace

void add_to(filter::FilterRegistry& registry) {
  filter::add_filter<AnalyticsConfig>(
      registry, "analytics",
      [](const AnalyticsConfig& config,
         filter::SharedState&) -> absl::StatusOr<std::shared_ptr<const filter::FilterFactory>> {
        return std::make_shared<AnalyticsFactory>(!config.has_refused() || config.refused());
      });
}

}  // namespace sluice::filters::analytics
