#include "controlplane/discovery/hub.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "controlplane/model/limits.h"
#include "proxy/base/log.h"

namespace sluice::controlplane::discovery {

namespace {

using config::Kind;
using Node = ::envoy::config::core::v3::Node;

constexpr const char* kDefaultGroup = "default";
constexpr const char* kConfigStream = "config";

std::string text_of(const Node& node, const char* key) {
  const auto it = node.metadata().fields().find(key);
  return it == node.metadata().fields().end() ? "" : it->second.string_value();
}

std::vector<std::string> warnings_of(const Node& node) {
  std::vector<std::string> warnings;
  const auto it = node.metadata().fields().find("warnings");
  if (it != node.metadata().fields().end()) {
    for (const auto& warning : it->second.list_value().values()) {
      warnings.push_back(warning.string_value());
    }
  }
  return warnings;
}

bool is_identity(Kind kind) { return kind == Kind::kToken || kind == Kind::kGrants; }

}  // namespace

Hub::Waiter::Waiter(Hub& owner, std::int64_t wanted, std::string of_group,
                    std::function<void(admin::v1::RolloutStatus)> tell)
    : hub(owner),
      revision(wanted),
      group(std::move(of_group)),
      answer(std::move(tell)),
      timer(&Hub::on_deadline, this) {}

Hub::Hub(store::Store& store, pki::Proxies* proxies, DiscoveryOptions options, EventThread& thread)
    : store_(store),
      proxies_(proxies),
      options_(std::move(options)),
      thread_(thread),
      identities_(store, options_.organisation),
      retry_timer_(&Hub::on_retry, this) {}

Hub::~Hub() = default;

// ---- the feed

absl::Status Hub::start() {
  // Subscribed before reading, so that no commit falls between the two.
  feed_ = store_.subscribe(options_.organisation, [this](std::int64_t) {
    if (!follow_posted_.exchange(true)) {
      thread_.post([this] { follow(); });
    }
  });
  return thread_.run<absl::Status>([this] { return reload(); }, cancelled("stopped"));
}

void Hub::stop_following() {
  feed_ = {};
  thread_.run<bool>(
      [this] {
        retry_timer_.cancel();
        while (!waiters_.empty()) {
          answer(waiters_.begin());
        }
        return true;
      },
      false);
}

// The revision is read first: what is read after it may be newer, and is then marked once more.
absl::Status Hub::reload() {
  const std::int64_t revision = store_.revision(options_.organisation);
  Catalogue fresh;
  SLUICE_RETURN_IF_ERROR(fresh.load(store_, options_.organisation));
  catalogue_ = std::move(fresh);
  for (const auto& [stream, session] : streams_) {
    catalogue_.add_group(session->group);
  }
  identities_.forget_all();
  revision_ = revision;
  for (const auto& [stream, session] : streams_) {
    stream->on_reset(revision);
  }
  pump_all();
  return absl::OkStatus();
}

void Hub::follow() {
  follow_posted_ = false;
  bool more = true;
  while (more) {
    if (const absl::Status status = follow_once(more); !status.ok()) {
      fail_feed(status);
      return;
    }
  }
  feed_failing_ = false;
}

absl::Status Hub::follow_once(bool& more) {
  absl::StatusOr<std::vector<store::Change>> changes =
      store_.changes(options_.organisation, revision_, limits::kDiscoveryChangesBatch);
  if (absl::IsOutOfRange(changes.status())) {
    more = false;
    return reload();
  }
  SLUICE_RETURN_IF_ERROR(changes.status());
  more = !changes->empty();
  return more ? apply(*changes) : absl::OkStatus();
}

void Hub::fail_feed(const absl::Status& status) {
  ++feed_failures_;
  if (!std::exchange(feed_failing_, true)) {
    log::error("the change feed cannot be read, proxies get no changes; will try again: {}",
               message_of(status));
  }
  thread_.timers().arm(retry_timer_, thread_.clock().now() + limits::kDiscoveryRetryInterval);
}

void Hub::on_retry(void* hub) {
  auto& self = *static_cast<Hub*>(hub);
  if (self.feed_failing_) {
    self.follow();
  }
  for (const auto& [stream, session] : self.streams_) {
    if (stream->wants_retry()) {
      stream->retry();
    }
  }
  self.pump_all();
}

absl::Status Hub::apply(const std::vector<store::Change>& changes) {
  // All reads before any change, so that a failing store leaves everything for the next try.
  std::set<config::ResourceKey> identities;
  std::map<config::ResourceKey, std::optional<std::string>> specs;
  std::map<std::string, bool> groups_local;  // GatewayGroups: what they allow
  for (const store::Change& change : changes) {
    const std::optional<Kind> kind = config::kind_from_name(change.kind);
    if (change.kind == "Application" || change.kind == "Subscription") {
      identities.insert({Kind::kGrants, change.name.substr(0, change.name.find(':'))});
    } else if (kind && is_identity(*kind)) {
      identities.insert({*kind, change.name});
    } else if (change.kind == "GatewayGroup") {
      const absl::StatusOr<store::Row> row =
          store_.get(options_.organisation, change.kind, change.name);
      if (!row.ok() && !absl::IsNotFound(row.status())) {
        return row.status();
      }
      groups_local[change.name] = row.ok() && allows_local(row->spec);
    } else if (kind) {
      absl::StatusOr<store::Row> row = store_.get(options_.organisation, change.kind, change.name);
      if (!row.ok() && !absl::IsNotFound(row.status())) {
        return row.status();
      }
      specs[{*kind, change.name}] = row.ok() ? std::optional(std::move(row->spec)) : std::nullopt;
    }
  }
  Catalogue::Touched touched;
  for (const auto& [group, allowed] : groups_local) {
    catalogue_.set_group(group, allowed, touched);
  }
  for (auto& [key, spec] : specs) {
    if (!spec) {
      catalogue_.erase(key, touched);
    } else if (const absl::Status put = catalogue_.put(key, *std::move(spec), touched); !put.ok()) {
      log::error("{}: proxies keep what they have", message_of(put));
    }
  }
  for (const config::ResourceKey& key : identities) {
    identities_.forget(key.kind, key.name);
  }
  const std::int64_t revision = changes.back().revision;
  revision_ = revision;
  const auto as_changes = [](const std::set<config::ResourceKey>& keys) {
    std::vector<sync::ResourceChange> out;
    for (const config::ResourceKey& key : keys) {
      out.push_back({type_url(key.kind), key.name});
    }
    return out;
  };
  const std::vector<sync::ResourceChange> to_all = as_changes(identities);
  std::map<std::string, std::vector<sync::ResourceChange>> by_group;
  for (const auto& [group, keys] : touched) {
    std::vector<sync::ResourceChange> out = as_changes(keys);
    out.insert(out.end(), to_all.begin(), to_all.end());
    by_group.emplace(group, std::move(out));
  }
  for (const auto& [stream, session] : streams_) {
    const auto own = by_group.find(session->group);
    stream->on_changes(revision, own == by_group.end() ? to_all : own->second);
  }
  pump_all();
  return absl::OkStatus();
}

void Hub::pump_all() {
  bool wants_retry = feed_failing_;
  for (const auto& [stream, session] : streams_) {
    stream->pump();
    wants_retry = wants_retry || stream->wants_retry();
  }
  if (wants_retry && !retry_timer_.armed()) {
    thread_.timers().arm(retry_timer_, thread_.clock().now() + limits::kDiscoveryRetryInterval);
  }
  std::set<std::string> groups;
  for (auto& [node_id, session] : sessions_) {
    if (session.connected()) {
      refresh(session);
      groups.insert(session.group);
    }
  }
  for (const std::string& group : groups) {
    check_waiters(group);
  }
}

// ---- streams

absl::StatusOr<Hub::Who> Hub::identify(const Client& client, const Node& node) const {
  if (options_.insecure_plaintext) {
    return Who{node.id().empty() ? client.address : node.id(),
               node.cluster().empty() ? kDefaultGroup : node.cluster()};
  }
  if (client.certificate_pem.empty()) {
    return absl::UnauthenticatedError(
        "discovery is for proxies with a client certificate: join with a token of `sluicectl "
        "join-token create`");
  }
  SLUICE_ASSIGN_OR_RETURN(const pki::Peer peer, pki::peer_from_certificate(client.certificate_pem));
  if (peer.kind != pki::Peer::Kind::kProxy) {
    return absl::PermissionDeniedError(to_absl(fmt::format(
        "the certificate of {} is not that of a proxy: discovery is closed to it", peer.name)));
  }
  SLUICE_RETURN_IF_ERROR(proxies_->check(peer));
  return Who{peer.name, peer.group};
}

absl::StatusOr<Hub::Admission> Hub::admit(AdsStream& stream, const Client& client,
                                          const Node& node) {
  SLUICE_ASSIGN_OR_RETURN(const Who who, identify(client, node));
  const std::string name = text_of(node, "stream");
  std::string instance = text_of(node, "instance");
  if (instance.empty()) {
    instance = client.address;
  }
  Session& session = sessions_[who.node_id];
  if (session.connected() && session.instance != instance) {
    return absl::AlreadyExistsError(to_absl(fmt::format(
        "a proxy with node id {} is connected already, from {}: stop one of the two or give it "
        "another --node-id",
        who.node_id, session.address)));
  }
  if (session.instance != instance) {
    session.acknowledged = 0;
  }
  std::vector<AdsStream*> replaced;
  for (const auto& [other, other_name] : session.streams) {
    if (!name.empty() && other_name == name) {
      replaced.push_back(other);  // half-open: the proxy has given it up
    }
  }
  session.node_id = who.node_id;
  session.group = who.group;
  session.instance = instance;
  session.address = client.address;
  session.software =
      node.user_agent_version().empty() ? node.user_agent_name() : node.user_agent_version();
  session.warnings = warnings_of(node);
  session.ours = !name.empty();
  catalogue_.add_group(who.group);
  session.streams.emplace(&stream, name);
  streams_[&stream] = &session;
  {
    const std::lock_guard lock(mutex_);
    connected_.insert(who.node_id);
  }
  for (AdsStream* other : replaced) {
    session.streams.erase(other);
    streams_.erase(other);
    other->finish(absl::AbortedError("the proxy has opened this stream anew"), true);
  }
  if (session.streams.size() == 1 && replaced.empty()) {
    log::info("proxy {} of group {} connected from {}", who.node_id, who.group, client.address);
  }
  return Admission{view_of(who.group), revision_};
}

sync::ResourceView Hub::view_of(const std::string& group) {
  return {[this, group](std::string_view url) -> std::vector<std::string> {
            const std::optional<Kind> kind = config::kind_from_type_url(url);
            return kind && !is_identity(*kind) ? catalogue_.names(group, *kind)
                                               : std::vector<std::string>{};
          },
          [this, group](std::string_view url,
                        std::string_view name) -> absl::StatusOr<sync::ResourcePtr> {
            const std::optional<Kind> kind = config::kind_from_type_url(url);
            if (!kind) {
              return nullptr;
            }
            return is_identity(*kind) ? identities_.get(*kind, name)
                                      : catalogue_.get(group, *kind, name);
          }};
}

Hub::Session* Hub::session_of(AdsStream& stream) {
  const auto it = streams_.find(&stream);
  return it == streams_.end() ? nullptr : it->second;
}

void Hub::on_node(AdsStream& stream, const Node& node) {
  if (Session* session = session_of(stream); session != nullptr && node.has_metadata()) {
    session->warnings = warnings_of(node);
  }
}

void Hub::on_progress(AdsStream& stream) {
  stream.pump();
  if (stream.wants_retry() && !retry_timer_.armed()) {
    thread_.timers().arm(retry_timer_, thread_.clock().now() + limits::kDiscoveryRetryInterval);
  }
  if (Session* session = session_of(stream)) {
    refresh(*session);
    check_waiters(session->group);
  }
}

void Hub::on_gone(AdsStream& stream) {
  Session* session = session_of(stream);
  if (session == nullptr) {
    return;
  }
  refresh(*session);
  session->streams.erase(&stream);
  streams_.erase(&stream);
  session->last_seen_ms = to_ms(system_wall());
  const std::string group = session->group;
  if (!session->connected()) {
    log::info("proxy {} of group {} is away", session->node_id, group);
    {
      const std::lock_guard lock(mutex_);
      connected_.erase(session->node_id);
    }
    if (!session->ours) {
      sessions_.erase(std::string(session->node_id));  // nobody knows whether it comes again
    }
  }
  check_waiters(group);
}

void Hub::disconnect(const std::string& node_id) {
  const auto it = sessions_.find(node_id);
  if (it == sessions_.end()) {
    return;
  }
  for (const auto& [stream, name] : std::map(it->second.streams)) {
    stream->finish(absl::PermissionDeniedError("this proxy was removed: it may join again with a "
                                               "new token"),
                   true);
  }
}

bool Hub::connected(const std::string& node_id) const {
  const std::lock_guard lock(mutex_);
  return connected_.contains(node_id);
}

std::size_t Hub::sessions_connected() const {
  const std::lock_guard lock(mutex_);
  return connected_.size();
}

// ---- who has what

// Takes over what the streams say. A proxy of ours counts only with a stream on which it has asked
// for everything; until then it is where it was last known to be.
void Hub::refresh(Session& session) {
  std::vector<sync::Refusal> refusals;
  std::int64_t acknowledged = revision_;
  bool complete = !session.ours && session.connected();
  for (const auto& [stream, name] : session.streams) {
    acknowledged = std::min(acknowledged, stream->acknowledged_revision());
    std::vector<sync::Refusal> own = stream->refusals();
    std::move(own.begin(), own.end(), std::back_inserter(refusals));
    complete = complete || (name == kConfigStream &&
                            std::ranges::all_of(config::kCompiledKinds, [&](Kind kind) {
                              return stream->requested(type_url(kind));
                            }));
  }
  if (complete) {
    session.acknowledged = acknowledged;
    session.refusals = std::move(refusals);
  }
}

admin::v1::ProxyRollout Hub::rollout_of(const Session& session, std::int64_t revision) const {
  using State = admin::v1::ProxyRollout;
  admin::v1::ProxyRollout rollout;
  rollout.set_proxy(session.node_id);
  rollout.set_acknowledged_revision(session.acknowledged);
  for (const sync::Refusal& refusal : session.refusals) {
    *rollout.add_refusals() = refusal;
  }
  rollout.set_state(!session.connected()              ? State::AWAY
                    : session.acknowledged < revision ? State::LAGGING
                    : !session.refusals.empty()       ? State::REFUSED
                                                      : State::IN_FORCE);
  return rollout;
}

admin::v1::RolloutStatus Hub::rollout(std::int64_t revision, const std::string& group) {
  admin::v1::RolloutStatus status;
  status.set_revision(revision > 0 ? revision : revision_.load());
  status.set_group(group.empty() ? kDefaultGroup : group);
  status.set_complete(true);
  std::set<std::string> seen;
  for (auto& [node_id, session] : sessions_) {
    if (session.group != status.group()) {
      continue;
    }
    const bool known = proxies_ == nullptr || proxies_->find(node_id).has_value();
    if (!session.connected() && !known) {
      continue;  // removed, or never more than one try
    }
    refresh(session);
    seen.insert(node_id);
    *status.add_proxies() = rollout_of(session, status.revision());
    const auto state = status.proxies().rbegin()->state();
    status.set_complete(status.complete() && (state == admin::v1::ProxyRollout::IN_FORCE ||
                                              state == admin::v1::ProxyRollout::AWAY));
  }
  if (proxies_ != nullptr) {
    for (const pki::KnownProxy& proxy : proxies_->list()) {
      if (!proxy.removed && proxy.group == status.group() && !seen.contains(proxy.node_id)) {
        auto* away = status.add_proxies();
        away->set_proxy(proxy.node_id);
        away->set_state(admin::v1::ProxyRollout::AWAY);
      }
    }
  }
  return status;
}

void Hub::wait(std::int64_t revision, std::string group, nanoseconds timeout,
               std::function<void(admin::v1::RolloutStatus)> tell) {
  if (group.empty()) {
    group = kDefaultGroup;
  }
  if (revision == 0) {
    revision = store_.revision(options_.organisation);
  }
  waiters_.emplace_back(*this, revision, group, std::move(tell));
  thread_.timers().arm(waiters_.back().timer, thread_.clock().now() + timeout);
  for (auto& [node_id, session] : sessions_) {
    refresh(session);
  }
  check_waiters(group);
}

// By what the sessions were last refreshed to: a thousand proxies answer a change one by one.
void Hub::check_waiters(const std::string& group) {
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    const auto waiter = it++;
    if (waiter->group != group) {
      continue;
    }
    const bool lagging = std::ranges::any_of(sessions_, [&](const auto& entry) {
      const Session& session = entry.second;
      return session.group == group && session.connected() &&
             session.acknowledged < waiter->revision;
    });
    if (!lagging) {
      answer(waiter);
    }
  }
}

void Hub::answer(std::list<Waiter>::iterator waiter) {
  std::list<Waiter> done;
  done.splice(done.begin(), waiters_, waiter);
  done.front().answer(rollout(done.front().revision, done.front().group));
}

void Hub::on_deadline(void* context) {
  auto& waiter = *static_cast<Waiter*>(context);
  Hub& hub = waiter.hub;
  const auto it =
      std::ranges::find_if(hub.waiters_, [&](const Waiter& w) { return &w == &waiter; });
  hub.answer(it);
}

std::vector<admin::v1::Proxy> Hub::list_proxies(const std::string& group) {
  std::map<std::string, admin::v1::Proxy> all;
  if (proxies_ != nullptr) {
    for (const pki::KnownProxy& known : proxies_->list()) {
      if (known.removed) {
        continue;
      }
      admin::v1::Proxy& proxy = all[known.node_id];
      proxy.set_node_id(known.node_id);
      proxy.set_group(known.group);
      proxy.mutable_certificate_expires()->set_seconds(known.certificate_expires_ms / 1000);
      if (known.certificate_expires_ms < to_ms(system_wall())) {
        proxy.add_warnings("its certificate has expired: it must join again");
      }
    }
  }
  const std::int64_t now_ms = to_ms(system_wall());
  for (auto& [node_id, session] : sessions_) {
    if (!session.connected() && proxies_ != nullptr && !all.contains(node_id)) {
      continue;
    }
    refresh(session);
    admin::v1::Proxy& proxy = all[node_id];
    proxy.set_node_id(node_id);
    proxy.set_group(session.group);
    proxy.set_connected(session.connected());
    proxy.set_address(session.address);
    proxy.set_software(session.software);
    proxy.set_acknowledged_revision(session.acknowledged);
    proxy.set_lag(std::max<std::int64_t>(revision_ - session.acknowledged, 0));
    for (const sync::Refusal& refusal : session.refusals) {
      *proxy.add_refusals() = refusal;
    }
    const std::int64_t seen_ms = session.connected() ? now_ms : session.last_seen_ms;
    proxy.mutable_last_seen()->set_seconds(seen_ms / 1000);
    for (const std::string& warning : session.warnings) {
      proxy.add_warnings(warning);
    }
    if (options_.insecure_plaintext) {
      proxy.add_warnings("connected in plain text: its name and group are believed");
    }
  }
  std::vector<admin::v1::Proxy> list;
  for (auto& [node_id, proxy] : all) {
    if (group.empty() || proxy.group() == group) {
      list.push_back(std::move(proxy));
    }
  }
  return list;
}

}  // namespace sluice::controlplane::discovery
