#include "proxy/sync/identity_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "proxy/base/log.h"
#include "proxy/config/identities.h"

namespace sluice::sync {

namespace {

using config::Kind;

const std::string& token_type() {
  static const auto& url = *new std::string(config::type_url(Kind::kToken));
  return url;
}
const std::string& grants_type() {
  static const auto& url = *new std::string(config::type_url(Kind::kGrants));
  return url;
}

absl::Status away() {
  return unavailable("the token cannot be checked: the control plane is away");
}

Refusal refusal_of(Kind kind, const std::string& name, const absl::Status& status) {
  Refusal refusal;
  refusal.set_kind(std::string(config::kind_name(kind)));
  refusal.set_name(name);
  refusal.set_reason(std::string(message_of(status)));
  return refusal;
}

config::Resource to_resource(Kind kind, const xds::Resource& resource) {
  return {kind, resource.name(), resource.version(), resource.resource().value()};
}

}  // namespace

IdentityClient::Lookup::Lookup(IdentityClient& owner, const Sha256& token)
    : client(owner), hash(token), timer(&IdentityClient::on_timeout, this) {}

IdentityClient::IdentityClient(Environment environment) : environment_(std::move(environment)) {}

IdentityClient::~IdentityClient() = default;

void IdentityClient::restore(const config::Delta& identities) {
  for (const config::Resource& resource : identities.upserts) {
    if (resource.kind == Kind::kToken) {
      const absl::StatusOr<model::Token> token = config::token_from(resource);
      if (token.ok()) {
        environment_.directory.put_token(*token);
        tokens_[token->hash] = {Held::kPresent, resource.version};
      } else {
        log::warning("left out saved token {}: {}", resource.name, message_of(token.status()));
      }
    } else if (resource.kind == Kind::kGrants) {
      absl::StatusOr<model::Grants> grants = config::grants_from(resource);
      if (grants.ok()) {
        environment_.directory.put_grants(
            std::make_shared<const model::Grants>(*std::move(grants)));
        grants_[resource.name] = {Held::kPresent, resource.version};
      } else {
        log::warning("left out saved grants of {}: {}", resource.name,
                     message_of(grants.status()));
      }
    }
  }
}

void IdentityClient::lookup(const Sha256& hash, std::string_view client_address, Answer answer) {
  if (std::optional<model::Identity> known = environment_.directory.find(hash)) {
    // A token that was absent when last heard of is asked for anew without a stream, and the stream
    // would have told its creation.
    if (known->token != nullptr || connected_) {
      answer(*std::move(known));
      return;
    }
  }
  if (!connected_) {
    ++state_.unavailable;
    answer(away());
    return;
  }
  if (!limiter_.allowed(client_address, environment_.clock.now())) {
    ++state_.limited;
    answer(resource_exhausted(fmt::format("more than {} unknown tokens a second from {}",
                                          limits::kUnknownTokensPerSecondMax, client_address)));
    return;
  }
  auto it = lookups_.find(hash);
  if (it == lookups_.end()) {
    if (lookups_.size() >= limits::kLookupsPendingMax) {
      ++state_.unavailable;
      answer(unavailable("the token cannot be checked: too many are being asked for"));
      return;
    }
    ++state_.lookups;
    it = lookups_.emplace(hash, std::make_unique<Lookup>(*this, hash)).first;
    environment_.timers.arm(it->second->timer,
                            environment_.clock.now() + limits::kTokenLookupTimeout);
    it->second->waiters.push_back({std::string(client_address), std::move(answer)});
    ask_token(hash);
    return;
  }
  it->second->waiters.push_back({std::string(client_address), std::move(answer)});
}

void IdentityClient::on_timeout(void* context) {
  auto& lookup = *static_cast<Lookup*>(context);
  IdentityClient& client = lookup.client;
  ++client.state_.timed_out;
  client.settle(lookup.hash, unavailable(fmt::format(
                                 "the token cannot be checked: the control plane did not answer "
                                 "within {} s",
                                 duration_cast<seconds>(limits::kTokenLookupTimeout).count())));
}

void IdentityClient::ask_token(const Sha256& hash) {
  const auto [entry, added] = tokens_.try_emplace(hash);
  if (!added && entry->second.held == Held::kPresent) {
    // Its grants are missing.
    const auto token = environment_.directory.find_token(hash);
    if (token && *token != nullptr) {
      waiting_for_grants_[(*token)->application].push_back(hash);
      ask_grants((*token)->application);
      return;
    }
  }
  entry->second = {};
  absent_.erase(hash);
  xds::DeltaDiscoveryRequest request;
  request.set_type_url(token_type());
  request.add_resource_names_subscribe(hex(hash));
  send(std::move(request));
}

void IdentityClient::ask_grants(const std::string& application) {
  if (!grants_.try_emplace(application).second) {
    return;  // asked already, and the answer is on its way
  }
  xds::DeltaDiscoveryRequest request;
  request.set_type_url(grants_type());
  request.add_resource_names_subscribe(application);
  send(std::move(request));
}

void IdentityClient::send(xds::DeltaDiscoveryRequest request) {
  if (!connected_) {
    return;
  }
  if (!node_sent_) {
    *request.mutable_node() = node_;
    node_sent_ = true;
  }
  send_(std::move(request));
}

// ---- the stream

void IdentityClient::on_connected(const envoy::config::core::v3::Node& node, SendDelta send,
                                  std::function<void()> read) {
  ++stream_;
  connected_ = true;
  node_sent_ = false;
  node_ = node;
  send_ = std::move(send);
  read_ = std::move(read);
  resubscribe_tokens_.clear();
  resubscribe_grants_.clear();
  for (const auto& [hash, entry] : tokens_) {
    resubscribe_tokens_.push_back(hash);
  }
  for (const auto& [application, entry] : grants_) {
    resubscribe_grants_.push_back(application);
  }
  resubscribe_batch();
  for (const auto& [hash, lookup] : lookups_) {
    ask_token(hash);
  }
}

void IdentityClient::on_writable() { resubscribe_batch(); }

// Grants first: they decide for many tokens, and are few.
void IdentityClient::resubscribe_batch() {
  if (!connected_ || (resubscribe_grants_.empty() && resubscribe_tokens_.empty())) {
    return;
  }
  xds::DeltaDiscoveryRequest request;
  auto& versions = *request.mutable_initial_resource_versions();
  const auto add = [&](const std::string& name, const Entry& entry) {
    request.add_resource_names_subscribe(name);
    if (entry.held == Held::kPresent && !entry.version.empty()) {
      versions[name] = entry.version;
    }
  };
  const auto full = [&request] {
    return static_cast<std::size_t>(request.resource_names_subscribe().size()) >=
           limits::kResubscribeBatch;
  };
  if (!resubscribe_grants_.empty()) {
    request.set_type_url(grants_type());
    while (!resubscribe_grants_.empty() && !full()) {
      const auto it = grants_.find(resubscribe_grants_.front());
      if (it != grants_.end()) {
        add(it->first, it->second);
      }
      resubscribe_grants_.pop_front();
    }
  } else {
    request.set_type_url(token_type());
    while (!resubscribe_tokens_.empty() && !full()) {
      const auto it = tokens_.find(resubscribe_tokens_.front());
      if (it != tokens_.end()) {
        add(hex(it->first), it->second);
      }
      resubscribe_tokens_.pop_front();
    }
  }
  // Without names it would be a request for everything.
  if (!request.resource_names_subscribe().empty()) {
    send(std::move(request));
  }
}

void IdentityClient::on_disconnected(bool again_at_once) {
  connected_ = false;
  send_ = nullptr;
  read_ = nullptr;
  resubscribe_tokens_.clear();
  resubscribe_grants_.clear();
  next_.answers.clear();
  std::erase_if(absent_, [this](const Sha256& hash) {
    // What a connection holds stays known to be gone: its recheck may still be on its way.
    return environment_.directory.forget_unpinned(hash) && tokens_.erase(hash) > 0;
  });
  std::erase_if(tokens_, [](const auto& e) { return e.second.held == Held::kAsked; });
  std::erase_if(grants_, [](const auto& e) { return e.second.held == Held::kAsked; });
  waiting_for_grants_.clear();
  if (again_at_once) {
    return;
  }
  while (!lookups_.empty()) {
    ++state_.unavailable;
    settle(Sha256(lookups_.begin()->first), away());
  }
}

void IdentityClient::on_response(xds::DeltaDiscoveryResponse response) {
  if (!connected_) {
    return;
  }
  ++state_.responses;
  xds::DeltaDiscoveryRequest answer;
  answer.set_type_url(response.type_url());
  answer.set_response_nonce(response.nonce());
  const bool tokens = response.type_url() == token_type();
  std::string protocol_error;
  std::set<std::string_view> names;
  for (const xds::Resource& resource : response.resources()) {
    if (!names.insert(resource.name()).second) {
      protocol_error = fmt::format("{} is there twice", resource.name());
    }
  }
  for (const std::string& name : response.removed_resources()) {
    if (!names.insert(name).second) {
      protocol_error = fmt::format("{} is there twice", name);
    }
  }
  if (!tokens && response.type_url() != grants_type()) {
    protocol_error = fmt::format("this stream did not ask for type '{}'", response.type_url());
  }
  if (!protocol_error.empty()) {
    *answer.mutable_error_detail() = make_nack(protocol_error);
  } else {
    const std::vector<Refusal> refusals = tokens ? apply_tokens(response) : apply_grants(response);
    if (!refusals.empty()) {
      *answer.mutable_error_detail() = make_nack(refusals, names.size());
    }
  }
  state_.nacks += answer.has_error_detail() ? 1 : 0;
  drop_evicted();
  next_.answers.push_back(std::move(answer));
  commit();
  if (read_ != nullptr) {
    read_();
  }
}

// ---- what a response says

std::vector<Refusal> IdentityClient::apply_tokens(const xds::DeltaDiscoveryResponse& response) {
  std::vector<Refusal> refusals;
  for (const xds::Resource& resource : response.resources()) {
    if (absl::Status status = apply_token(resource); !status.ok()) {
      refusals.push_back(refusal_of(Kind::kToken, resource.name(), status));
      if (const auto hash = sha256_from_hex(resource.name())) {
        settle(*hash, unavailable(fmt::format("the control plane's answer cannot be read: {}",
                                              message_of(status))));
      }
    }
  }
  for (const std::string& name : response.removed_resources()) {
    if (const auto hash = sha256_from_hex(name)) {
      apply_token_absent(*hash);
    }
  }
  for (const xds::ResourceError& error : response.resource_errors()) {
    apply_error(Kind::kToken, error);
  }
  return refusals;
}

std::vector<Refusal> IdentityClient::apply_grants(const xds::DeltaDiscoveryResponse& response) {
  std::vector<Refusal> refusals;
  for (const xds::Resource& resource : response.resources()) {
    if (absl::Status status = apply_grant(resource); !status.ok()) {
      refusals.push_back(refusal_of(Kind::kGrants, resource.name(), status));
    }
  }
  for (const std::string& name : response.removed_resources()) {
    apply_no_grants(name);
  }
  for (const xds::ResourceError& error : response.resource_errors()) {
    apply_error(Kind::kGrants, error);
  }
  return refusals;
}

absl::Status IdentityClient::apply_token(const xds::Resource& resource) {
  if (!resource.has_resource()) {
    return absl::OkStatus();  // a heartbeat
  }
  if (resource.resource().type_url() != token_type()) {
    return invalid_argument(
        fmt::format("a {} was sent as a token", resource.resource().type_url()));
  }
  config::Resource saved = to_resource(Kind::kToken, resource);
  SLUICE_ASSIGN_OR_RETURN(const model::Token token, config::token_from(saved));
  const auto entry = tokens_.find(token.hash);
  if (entry == tokens_.end()) {
    return absl::OkStatus();  // not asked for, or not any more
  }
  const Held before = std::exchange(entry->second.held, Held::kPresent);
  entry->second.version = resource.version();
  absent_.erase(token.hash);
  if (environment_.directory.put_token(token) && before != Held::kAsked) {
    next_.subjects.push_back({model::Subject::Kind::kToken, resource.name()});
  }
  next_.saves[saved.key()] = std::move(saved);
  if (!environment_.directory.find_grants(token.application)) {
    waiting_for_grants_[token.application].push_back(token.hash);
    ask_grants(token.application);
  } else {
    settle_if_known(token.hash);
  }
  return absl::OkStatus();
}

void IdentityClient::apply_token_absent(const Sha256& hash) {
  const auto entry = tokens_.find(hash);
  if (entry == tokens_.end()) {
    return;
  }
  const Held before = entry->second.held;
  entry->second = {Held::kAbsent, ""};
  absent_.insert(hash);
  if (environment_.directory.put_absent(hash) && before == Held::kPresent) {
    next_.subjects.push_back({model::Subject::Kind::kToken, hex(hash)});
  }
  if (before == Held::kPresent) {
    next_.saves[{Kind::kToken, hex(hash)}] = std::nullopt;
  }
  settle_if_known(hash);
}

absl::Status IdentityClient::apply_grant(const xds::Resource& resource) {
  if (!resource.has_resource()) {
    return absl::OkStatus();
  }
  if (resource.resource().type_url() != grants_type()) {
    return invalid_argument(
        fmt::format("a {} was sent as grants", resource.resource().type_url()));
  }
  config::Resource saved = to_resource(Kind::kGrants, resource);
  SLUICE_ASSIGN_OR_RETURN(model::Grants grants, config::grants_from(saved));
  const auto entry = grants_.find(resource.name());
  if (entry == grants_.end()) {
    return absl::OkStatus();
  }
  const Held before = std::exchange(entry->second.held, Held::kPresent);
  entry->second.version = resource.version();
  if (environment_.directory.put_grants(std::make_shared<const model::Grants>(std::move(grants))) &&
      before != Held::kAsked) {
    next_.subjects.push_back({model::Subject::Kind::kApplication, resource.name()});
  }
  next_.saves[saved.key()] = std::move(saved);
  settle_application(resource.name());
  return absl::OkStatus();
}

void IdentityClient::apply_no_grants(const std::string& application) {
  const auto entry = grants_.find(application);
  if (entry == grants_.end()) {
    return;
  }
  const Held before = entry->second.held;
  entry->second = {Held::kAbsent, ""};
  if (environment_.directory.put_no_grants(application) && before == Held::kPresent) {
    next_.subjects.push_back({model::Subject::Kind::kApplication, application});
  }
  if (before == Held::kPresent) {
    next_.saves[{Kind::kGrants, application}] = std::nullopt;
  }
  settle_application(application);
}

// What is held stays; what is asked for is forgotten, so that the next look-up asks anew.
void IdentityClient::apply_error(Kind kind, const xds::ResourceError& error) {
  const std::string& name = error.resource_name().name();
  const absl::Status status = from_rpc(error.error_detail());
  log::warning("the control plane cannot give {} {}: {}", config::kind_name(kind), name,
               message_of(status));
  const auto answer = unavailable(fmt::format("the token cannot be checked: {}",
                                              message_of(status)));
  xds::DeltaDiscoveryRequest unsubscribe;
  unsubscribe.add_resource_names_unsubscribe(name);
  if (kind == Kind::kToken) {
    const auto hash = sha256_from_hex(name);
    const auto entry = hash ? tokens_.find(*hash) : tokens_.end();
    if (entry == tokens_.end() || entry->second.held != Held::kAsked) {
      return;
    }
    tokens_.erase(entry);
    unsubscribe.set_type_url(token_type());
    settle(*hash, answer);
  } else {
    const auto entry = grants_.find(name);
    if (entry == grants_.end() || entry->second.held != Held::kAsked) {
      return;
    }
    grants_.erase(entry);
    unsubscribe.set_type_url(grants_type());
    const auto waiting = waiting_for_grants_.find(name);
    if (waiting != waiting_for_grants_.end()) {
      const std::vector<Sha256> hashes = std::move(waiting->second);
      waiting_for_grants_.erase(waiting);
      for (const Sha256& hash : hashes) {
        settle(hash, answer);
      }
    }
  }
  send(std::move(unsubscribe));
}

// ---- answers to look-ups

void IdentityClient::settle_if_known(const Sha256& hash) {
  if (!lookups_.contains(hash)) {
    return;
  }
  if (std::optional<model::Identity> identity = environment_.directory.find(hash)) {
    settle(hash, *std::move(identity));
  }
}

void IdentityClient::settle_application(const std::string& application) {
  const auto waiting = waiting_for_grants_.find(application);
  if (waiting == waiting_for_grants_.end()) {
    return;
  }
  const std::vector<Sha256> hashes = std::move(waiting->second);
  waiting_for_grants_.erase(waiting);
  for (const Sha256& hash : hashes) {
    settle_if_known(hash);
  }
}

void IdentityClient::settle(const Sha256& hash, absl::StatusOr<model::Identity> answer) {
  auto node = lookups_.extract(hash);
  if (node.empty()) {
    return;
  }
  const std::unique_ptr<Lookup> lookup = std::move(node.mapped());
  if (answer.ok()) {
    ++(answer->token != nullptr ? state_.found : state_.unknown);
  }
  for (Waiter& waiter : lookup->waiters) {
    if (answer.ok() && answer->token == nullptr) {
      limiter_.count(waiter.address, environment_.clock.now());
    }
    waiter.answer(answer);
  }
}

// ---- room, and what lasts

void IdentityClient::drop_evicted() {
  const config::Directory::Evicted evicted = environment_.directory.take_evicted();
  xds::DeltaDiscoveryRequest tokens;
  tokens.set_type_url(token_type());
  for (const Sha256& hash : evicted.tokens) {
    const auto entry = tokens_.find(hash);
    if (entry == tokens_.end() || lookups_.contains(hash)) {
      continue;
    }
    if (entry->second.held == Held::kPresent) {
      next_.saves[{Kind::kToken, hex(hash)}] = std::nullopt;
    }
    tokens_.erase(entry);
    absent_.erase(hash);
    tokens.add_resource_names_unsubscribe(hex(hash));
  }
  if (!tokens.resource_names_unsubscribe().empty()) {
    send(std::move(tokens));
  }
  xds::DeltaDiscoveryRequest grants;
  grants.set_type_url(grants_type());
  for (const std::string& application : evicted.applications) {
    const auto entry = grants_.find(application);
    if (entry == grants_.end() || environment_.directory.application_used(application) ||
        waiting_for_grants_.contains(application)) {
      continue;
    }
    if (entry->second.held == Held::kPresent) {
      next_.saves[{Kind::kGrants, application}] = std::nullopt;
    }
    grants_.erase(entry);
    environment_.directory.forget_grants(application);
    grants.add_resource_names_unsubscribe(application);
  }
  if (!grants.resource_names_unsubscribe().empty()) {
    send(std::move(grants));
  }
}

// One at a time; what comes meanwhile goes together into the next.
void IdentityClient::commit() {
  if (committing_ || next_.empty()) {
    return;
  }
  committing_ = true;
  auto commit = std::make_shared<Commit>(std::exchange(next_, {}));
  commit->stream = stream_;
  auto left = std::make_shared<int>(1);
  const auto step = [this, commit, left] {
    if (--*left == 0) {
      committed(*commit);
    }
  };
  if (!commit->subjects.empty()) {
    ++*left;
    environment_.recheck(std::move(commit->subjects), step);
  }
  if (!commit->saves.empty() && environment_.persist != nullptr) {
    ++*left;
    config::Delta delta;
    for (auto& [key, resource] : commit->saves) {
      if (resource) {
        delta.upserts.push_back(*std::move(resource));
      } else {
        delta.removals.push_back(key);
      }
    }
    environment_.persist(std::move(delta), [this, step](absl::Status status) {
      state_.persist_error = std::string(message_of(status));
      state_.not_persisted += status.ok() ? 0 : 1;
      step();
    });
  }
  step();
}

void IdentityClient::committed(const Commit& commit) {
  committing_ = false;
  if (connected_ && commit.stream == stream_) {
    for (const xds::DeltaDiscoveryRequest& answer : commit.answers) {
      send(answer);
    }
  }
  this->commit();
}

IdentityClient::State IdentityClient::state() const {
  State state = state_;
  state.connected = connected_;
  state.pending = lookups_.size();
  state.tokens = tokens_.size();
  state.applications = grants_.size();
  return state;
}

}  // namespace sluice::sync
