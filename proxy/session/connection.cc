#include "proxy/session/connection.h"

#include <utility>

#include "proxy/filter/facts.h"

namespace sluice::session {

Connection::Connection(SessionContext& context) : context_(context) {
  exchange_.services = context.services;
  exchange_.begin = context.loop->clock().wall();
}

Connection::~Connection() {
  forget_interests();
  if (pinned_) {
    context_.directory->unpin(exchange_.principal->token);
  }
  relay_.reset();
  if (exchange_.account != nullptr) {
    counts_ = exchange_.account->counts();  // the close hooks give the account back
  }
  if (filters_ != nullptr) {
    filters_->close(exchange_);
  }
  if (exchange_.ending.status != 0) {
    log_access(relay_was_live_ ? telemetry::AccessEntry::Event::kClosed
                               : telemetry::AccessEntry::Event::kRefused);
  }
}

void Connection::log_access(telemetry::AccessEntry::Event event) {
  if (context_.access_log == nullptr) {
    return;
  }
  telemetry::AccessEntry entry;
  entry.event = event;
  entry.time = context_.loop->clock().wall();
  entry.facts = filter::facts_of(exchange_);
  entry.method = exchange_.request.method;
  const std::string_view target = exchange_.request.target;
  entry.path = target.substr(0, target.find('?'));
  entry.query = exchange_.query;
  entry.request = event == telemetry::AccessEntry::Event::kClosed
                      ? std::move(logged_request_)
                      : context_.access_log->capture(exchange_.request);
  if (event == telemetry::AccessEntry::Event::kOpened) {
    logged_request_ = entry.request;
  }
  entry.counts = counts_;
  entry.ending = exchange_.ending;
  context_.access_log->write(std::move(entry));
}

void Connection::use(std::shared_ptr<const config::CompiledApi> api,
                     std::shared_ptr<const filter::FilterChain> chain) {
  api_ = std::move(api);
  exchange_.api = config::model_of(api_);
  exchange_.depends_on(model::Subject::Kind::kApi, api_->api.name);
  filters_ = std::make_unique<filter::FilterInstances>(std::move(chain));
}

bool Connection::hold_token() {
  if (exchange_.principal && !pinned_) {
    pinned_ = context_.directory->pin(exchange_.principal->token);
    return pinned_;
  }
  return true;
}

void Connection::begin_relay(Relay::Parts parts, std::uint64_t changes, std::string from_client,
                             std::string from_backend) {
  log_access(telemetry::AccessEntry::Event::kOpened);
  relay_was_live_ = true;
  // Heads are not needed any more; what records need of them was taken.
  exchange_.request = {};
  parts.exchange = &exchange_;
  parts.filters = filters_.get();
  relay_ = std::make_unique<Relay>(*context_.loop, std::move(parts),
                                   [this] { context_.end_live(*this); });
  register_interests();
  relay_->start(std::move(from_client), std::move(from_backend));
  if (changes != context_.changes()) {
    recheck(*context_.snapshot());  // it changed between the open hooks and now
  }
}

void Connection::recheck(const config::Snapshot& snapshot) {
  if (relay_ == nullptr) {
    return;
  }
  ++context_.counters->rechecked;
  std::shared_ptr<const config::CompiledApi> api = snapshot.find_api(exchange_.api->name);
  if (api == nullptr) {
    relay_->close(filter::CloseCause::kApiDeleted);
    return;
  }
  if (api != api_) {
    api_ = std::move(api);
    exchange_.api = config::model_of(api_);
    if (const auto listener = snapshot.find_listener(exchange_.listener)) {
      filters_->adopt(api_->chain_for(*listener));
    }
  }
  exchange_.subjects.clear();
  exchange_.depends_on(model::Subject::Kind::kApi, api_->api.name);
  relay_->recheck();
  forget_interests();
  register_interests();
}

void Connection::register_interests() {
  interests_.resize(exchange_.subjects.size());
  for (std::size_t i = 0; i < interests_.size(); ++i) {
    interests_[i].connection = this;
    interests_[i].key = InterestIndex::key_of(exchange_.subjects[i]);
    context_.interests->add(interests_[i]);
  }
  exchange_.subjects.clear();
  exchange_.subjects.shrink_to_fit();
}

void Connection::forget_interests() {
  for (InterestIndex::Node& node : interests_) {
    context_.interests->remove(node);
  }
  interests_.clear();
}

}  // namespace sluice::session
