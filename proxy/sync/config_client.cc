#include "proxy/sync/config_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "proxy/base/log.h"
#include "proxy/base/plant.h"

namespace sluice::sync {

namespace {

constexpr const char* kWarnings = "warnings";

bool compiled(config::Kind kind) {
  return std::ranges::find(config::kCompiledKinds, kind) != std::end(config::kCompiledKinds);
}

Refusal to_refusal(const config::Fault& fault) {
  Refusal refusal;
  refusal.set_kind(std::string(config::kind_name(fault.kind)));
  refusal.set_name(fault.name);
  refusal.set_field(fault.field);
  refusal.set_reason(fault.message);
  return refusal;
}

}  // namespace

ConfigClient::ConfigClient(Environment environment)
    : environment_(std::move(environment)), snapshot_(config::Snapshot::empty()) {}

std::vector<config::Fault> ConfigClient::restore(const config::Delta& delta,
                                                 std::function<void()> done) {
  if (delta.empty()) {
    done();
    return {};
  }
  config::CompileResult result = environment_.compile(snapshot_, delta);
  snapshot_ = result.snapshot;
  published_ = true;
  restored_ = true;
  const std::vector<config::Fault> unbound =
      environment_.publish(snapshot_, std::move(result.changed), std::move(done));
  std::vector<config::Fault> faults = result.faults;
  faults.insert(faults.end(), unbound.begin(), unbound.end());
  settle(delta, std::move(result), unbound);
  return faults;
}

void ConfigClient::on_connected(const envoy::config::core::v3::Node& node, SendDelta send,
                                std::function<void()> read) {
  ++stream_;
  connected_ = true;
  node_ = node;
  send_ = std::move(send);
  read_ = std::move(read);
  queue_.clear();
  answered_types_.clear();
  told_persist_error_ = false;
  // What is in work is counted as held only when it is in force and saved.
  subscribe_pending_ = busy_;
  if (!busy_) {
    subscribe();
  }
}

void ConfigClient::subscribe() {
  subscribe_pending_ = false;
  bool first = true;
  for (const config::Kind kind : config::kCompiledKinds) {
    xds::DeltaDiscoveryRequest request;
    if (std::exchange(first, false)) {
      *request.mutable_node() = node_;
    }
    request.set_type_url(std::string(config::type_url(kind)));
    request.add_resource_names_subscribe("*");
    auto& held = *request.mutable_initial_resource_versions();
    for (auto it = versions_.lower_bound({kind, ""}); it != versions_.end(); ++it) {
      if (it->first.kind != kind) {
        break;
      }
      // What could not be put in force is asked for again, to be refused again: a new stream's
      // server knows nothing of it.
      if (!refused_.contains(it->first)) {
        held[it->first.name] = it->second;
      }
    }
    send_(std::move(request));
  }
}

void ConfigClient::on_disconnected() {
  connected_ = false;
  send_ = nullptr;
  read_ = nullptr;
  queue_.clear();
}

void ConfigClient::on_response(xds::DeltaDiscoveryResponse response) {
  if (!connected_) {
    return;
  }
  ++state_.responses;
  queue_.push_back(std::move(response));
  start_next();
}

void ConfigClient::start_next() {
  if (busy_ || queue_.empty()) {
    return;
  }
  busy_ = true;
  Work work = unpack(queue_.front());
  queue_.pop_front();
  if (!work.protocol_error.empty()) {
    log::warning("refused a discovery response of type {}: {}", work.type_url, work.protocol_error);
    answer(work);
    return;
  }
  apply(std::move(work));
}

ConfigClient::Work ConfigClient::unpack(const xds::DeltaDiscoveryResponse& response) {
  Work work;
  work.stream = stream_;
  work.type_url = response.type_url();
  work.nonce = response.nonce();
  work.total = static_cast<std::size_t>(response.resources().size()) +
               static_cast<std::size_t>(response.removed_resources().size());
  const std::optional<config::Kind> kind = config::kind_from_type_url(response.type_url());
  if (!kind || !compiled(*kind)) {
    work.protocol_error = fmt::format("this stream did not ask for type '{}'", response.type_url());
    return work;
  }
  if (response.nonce().empty()) {
    work.protocol_error = "a response must have a nonce";
    return work;
  }
  std::set<std::string_view> names;
  for (const xds::Resource& resource : response.resources()) {
    if (!names.insert(resource.name()).second) {
      work.protocol_error = fmt::format("{} is there twice", resource.name());
    }
  }
  for (const std::string& name : response.removed_resources()) {
    if (!names.insert(name).second) {
      work.protocol_error = fmt::format("{} is there twice", name);
    }
  }
  if (!work.protocol_error.empty()) {
    return work;
  }
  for (const xds::Resource& resource : response.resources()) {
    unpack_resource(*kind, resource, work);
  }
  for (const std::string& name : response.removed_resources()) {
    work.delta.removals.push_back({*kind, name});
  }
  for (const xds::ResourceError& error : response.resource_errors()) {
    log::warning("the control plane cannot give {} {}: {}", config::kind_name(*kind),
                 error.resource_name().name(), error.error_detail().message());
  }
  return work;
}

void ConfigClient::unpack_resource(config::Kind kind, const xds::Resource& resource, Work& work) {
  const config::ResourceKey key{kind, resource.name()};
  if (!resource.has_resource()) {
    return;  // a heartbeat: says only that what is held is still good
  }
  if (resource.resource().type_url() != work.type_url) {
    work.faults.push_back(
        {kind, resource.name(), "",
         fmt::format("a {} was sent as {}", resource.resource().type_url(), work.type_url)});
    return;
  }
  const auto stuck = refused_.find(key);
  if (stuck != refused_.end() && stuck->second.by_publish &&
      stuck->second.version == resource.version()) {
    work.repeated.insert(work.repeated.end(), stuck->second.faults.begin(),
                         stuck->second.faults.end());
    return;
  }
  const auto held = versions_.find(key);
  if (held != versions_.end() && held->second == resource.version() &&
      !resource.version().empty()) {
    ++state_.unchanged;
    // It came although it is held: what was refused meanwhile is taken back.
    refused_.erase(key);
    return;
  }
  work.delta.upserts.push_back(
      {kind, resource.name(), resource.version(), resource.resource().value()});
}

void ConfigClient::apply(Work work) {
  if (work.delta.empty() && published_) {
    settle({}, {snapshot_, work.faults, {}, {}}, {});
    answer(work);
    return;
  }
  config::CompileResult result = environment_.compile(snapshot_, work.delta);
  if (SLUICE_PLANT(kRefusalStopsAll) && !result.faults.empty()) result.snapshot = snapshot_;
  result.faults.insert(result.faults.end(), work.faults.begin(), work.faults.end());
  work.faults = result.faults;
  if (result.snapshot == snapshot_ && published_) {
    config::Delta accepted = settle(work.delta, std::move(result), {});
    save(std::move(work), std::move(accepted));
    return;
  }
  snapshot_ = result.snapshot;
  published_ = true;
  // The workers may be done before publish() returns; what follows needs its faults too.
  struct Join {
    int left = SLUICE_PLANT(kAckBeforeInForce) ? 1 : 2;
    Work work;
    config::CompileResult result;
    std::vector<config::Fault> unbound;
  };
  auto join = std::make_shared<Join>();
  const auto step = [this, join] {
    if (--join->left == 0) {
      config::Delta accepted = settle(join->work.delta, std::move(join->result), join->unbound);
      save(std::move(join->work), std::move(accepted));
    }
  };
  std::vector<model::Subject> changed = std::move(result.changed);
  join->result = std::move(result);
  join->unbound = environment_.publish(snapshot_, std::move(changed), step);
  work.faults.insert(work.faults.end(), join->unbound.begin(), join->unbound.end());
  join->work = std::move(work);
  step();
}

// Takes the book over what is held and what is refused; returns what is to be saved. A listener
// that could not be bound is saved as well: after a restart it is tried again.
config::Delta ConfigClient::settle(const config::Delta& delta, config::CompileResult result,
                                   const std::vector<config::Fault>& unbound) {
  std::map<config::ResourceKey, std::string> arrived;
  for (const config::Resource& resource : delta.upserts) {
    refused_.erase(resource.key());
    arrived[resource.key()] = resource.version;
  }
  for (const config::ResourceKey& key : delta.removals) {
    refused_.erase(key);
  }
  config::Delta accepted = config::without_faulty(delta, result.faults);
  config::Delta& recovered = result.recovered;
  for (config::Resource& resource : recovered.upserts) {
    refused_.erase(resource.key());
    accepted.upserts.push_back(std::move(resource));
  }
  accepted.removals.insert(accepted.removals.end(), recovered.removals.begin(),
                           recovered.removals.end());
  for (const config::Resource& resource : accepted.upserts) {
    versions_[resource.key()] = resource.version;
  }
  for (const config::ResourceKey& key : accepted.removals) {
    versions_.erase(key);
    refused_.erase(key);
  }
  for (const config::Fault& fault : result.faults) {
    const auto it = arrived.find(fault.key());
    note(fault, it == arrived.end() ? "" : it->second, false);
  }
  for (const config::Fault& fault : unbound) {
    note(fault, versions_[fault.key()], true);
  }
  return accepted;
}

void ConfigClient::note(const config::Fault& fault, std::string version, bool by_publish) {
  RefusedAt& refused = refused_[fault.key()];
  refused.version = std::move(version);
  refused.by_publish = by_publish;
  refused.faults.push_back(fault);
  log::warning("refused {}", fault.text());
}

void ConfigClient::save(Work work, config::Delta accepted) {
  if (environment_.persist == nullptr || accepted.empty()) {
    answer(work);
    return;
  }
  environment_.persist(std::move(accepted), [this, work = std::move(work)](absl::Status status) {
    state_.persist_error = std::string(message_of(status));
    if (!status.ok()) {
      ++state_.not_persisted;
      log::warning("configuration is in force but not saved: {}", state_.persist_error);
    }
    answer(work);
  });
}

// ACK or NACK, and on to the next response.
void ConfigClient::answer(const Work& work) {
  busy_ = false;
  if (!connected_ || work.stream != stream_) {
    if (connected_ && subscribe_pending_) {
      subscribe();
    }
    start_next();
    return;
  }
  xds::DeltaDiscoveryRequest request;
  request.set_type_url(work.type_url);
  request.set_response_nonce(work.nonce);
  if (!work.protocol_error.empty()) {
    *request.mutable_error_detail() = make_nack(work.protocol_error);
  } else if (!work.faults.empty() || !work.repeated.empty()) {
    std::vector<Refusal> refusals;
    std::ranges::transform(work.faults, std::back_inserter(refusals), to_refusal);
    std::ranges::transform(work.repeated, std::back_inserter(refusals), to_refusal);
    *request.mutable_error_detail() = make_nack(refusals, work.total);
  }
  const bool failing = !state_.persist_error.empty();
  if (failing || told_persist_error_) {
    // An ACK cannot say by itself that what is in force was not saved.
    *request.mutable_node() = node_;
    if (failing) {
      auto& warnings = (*request.mutable_node()->mutable_metadata()->mutable_fields())[kWarnings];
      warnings.mutable_list_value()->add_values()->set_string_value(
          "configuration is in force but not saved: " + state_.persist_error);
    }
    told_persist_error_ = failing;
  }
  request.has_error_detail() ? ++state_.nacks : ++state_.acks;
  if (work.protocol_error.empty()) {
    answered_types_.insert(work.type_url);
  }
  synced_once_ = synced_once_ || answered_types_.size() == std::size(config::kCompiledKinds);
  send_(std::move(request));
  if (read_ != nullptr) {
    read_();
  }
  start_next();
}

ConfigClient::State ConfigClient::state() const {
  State state = state_;
  state.connected = connected_;
  state.in_force = restored_ || synced_once_;
  state.synced = connected_ && answered_types_.size() == std::size(config::kCompiledKinds);
  state.resources = versions_.size();
  return state;
}

std::vector<config::Fault> ConfigClient::refused() const {
  std::vector<config::Fault> all;
  for (const auto& [key, refused] : refused_) {
    all.insert(all.end(), refused.faults.begin(), refused.faults.end());
  }
  return all;
}

}  // namespace sluice::sync
