#include "proxy/session/connection.h"

#include <algorithm>
#include <utility>

#include "proxy/config/api_resource.h"
#include "proxy/filter/facts.h"

namespace sluice::session {

Connection::Connection(SessionContext& context) : context_(context) {
  exchange_.services = context.services;
  exchange_.begin = context.loop->clock().wall();
}

Connection::~Connection() {
  forget_interests();
  if (watched_) {
    context_.requests->remove(*this);
  }
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
  using Event = telemetry::AccessEntry::Event;
  const bool http = api_ != nullptr && api_->api.type == model::ApiType::kHttp;
  if (http && !relay_was_live_ && !exchange_.ending.refusal_code) {
    log_access(Event::kRequest);
  } else if (exchange_.ending.status != 0) {
    log_access(relay_was_live_ ? Event::kClosed : Event::kRefused);
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
  changes_ = context_.changes();
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

void Connection::begin_relay(Relay::Parts parts, std::string from_client,
                             std::string from_backend) {
  log_access(telemetry::AccessEntry::Event::kOpened);
  relay_was_live_ = true;
  // Heads are not needed any more; what records need of them was taken.
  http::RequestHead head;
  std::swap(exchange_.request, head);  // an assignment would keep the room that its strings took
  parts.exchange = &exchange_;
  parts.filters = filters_.get();
  relay_ = std::make_unique<Relay>(*context_.loop, std::move(parts),
                                   [this] { context_.end_live(*this); });
  register_interests();
  relay_->start(std::move(from_client), std::move(from_backend));
  if (changes_ != context_.changes()) {
    recheck(*context_.snapshot());  // it changed between the open hooks and now
  }
}

void Connection::watch() {
  if (watched_) {
    recheck(*context_.snapshot());
    return;
  }
  watched_ = true;
  context_.requests->add(*this);
  live_index = context_.next_order();
  move_to_slot();
  if (!hold_token()) {
    close(filter::CloseCause::kTokenRevoked);
    return;
  }
  register_interests();
  if (changes_ != context_.changes()) {
    recheck(*context_.snapshot());
  }
}

void Connection::move_to_slot() {
  if (!watched_ || exchange_.account == nullptr ||
      exchange_.account != exchange_.spare_account.get()) {
    return;
  }
  telemetry::Account* slot = exchange_.services->open_account(filter::facts_of(exchange_));
  if (slot == nullptr) {
    return;
  }
  using telemetry::Account;
  const telemetry::Counts counts = exchange_.account->counts();
  Account::add(slot->messages_up, counts.messages_up);
  Account::add(slot->bytes_up, counts.bytes_up);
  Account::add(slot->bytes_down, counts.bytes_down);
  exchange_.account = slot;
}

void Connection::close(filter::CloseCause cause) {
  if (relay_ != nullptr) {
    relay_->close(cause);
  } else if (transfer_ != nullptr) {
    transfer_->cut(cause);
  }
}

void Connection::recheck(const config::Snapshot& snapshot) {
  if (relay_ == nullptr && transfer_ == nullptr) {
    return;
  }
  ++context_.counters->rechecked;
  std::shared_ptr<const config::CompiledApi> api = snapshot.find_api(exchange_.api->name);
  if (api == nullptr || api->api.type != api_->api.type) {
    close(filter::CloseCause::kApiDeleted);
    return;
  }
  if (api != api_) {
    api_ = std::move(api);
    exchange_.api = config::model_of(api_);
    exchange_.resource =
        config::find_resource(api_->api, exchange_.request.method, exchange_.topic).resource;
    if (const auto listener = snapshot.find_listener(exchange_.listener)) {
      filters_->adopt(api_->chain_for(*listener));
    }
  }
  exchange_.subjects.clear();
  exchange_.depends_on(model::Subject::Kind::kApi, api_->api.name);
  if (relay_ != nullptr) {
    relay_->recheck();
  } else if (const filter::Verdict verdict = filters_->recheck(exchange_); !verdict.passes()) {
    transfer_->cut(verdict.detail()->cause);
  }
  forget_interests();
  register_interests();
}

void Connection::register_interests() {
  // Often one plan serves at several levels.
  std::sort(exchange_.subjects.begin(), exchange_.subjects.end());
  exchange_.subjects.erase(std::unique(exchange_.subjects.begin(), exchange_.subjects.end()),
                           exchange_.subjects.end());
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
