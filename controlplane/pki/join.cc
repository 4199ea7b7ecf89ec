#include "controlplane/pki/join.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "controlplane/model/limits.h"
#include "proxy/base/encoding.h"
#include "proxy/base/limits.h"

namespace sluice::controlplane::pki {
namespace {

constexpr char kProxiesCollection[] = "proxies";
constexpr char kTokensCollection[] = "join-tokens";

std::string to_blob(const KnownProxy& proxy) {
  return boost::json::serialize(
      boost::json::object{{"group", proxy.group},
                          {"join", proxy.join},
                          {"joined_ms", proxy.joined_ms},
                          {"certificate_expires_ms", proxy.certificate_expires_ms},
                          {"removed", proxy.removed}});
}

std::string text_at(const boost::json::object& object, const char* key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

std::int64_t number_at(const boost::json::object& object, const char* key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_int64() ? value->get_int64() : 0;
}

absl::StatusOr<boost::json::object> parse_object(const store::Document& document) {
  boost::json::error_code error;
  boost::json::value value = boost::json::parse(document.blob, error);
  if (error || !value.is_object()) {
    return internal_error(fmt::format("the stored document {} cannot be read", document.key));
  }
  return value.get_object();
}

absl::StatusOr<KnownProxy> from_document(const store::Document& document) {
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object object, parse_object(document));
  KnownProxy proxy;
  proxy.node_id = document.key;
  proxy.group = text_at(object, "group");
  proxy.join = text_at(object, "join");
  proxy.joined_ms = number_at(object, "joined_ms");
  proxy.certificate_expires_ms = number_at(object, "certificate_expires_ms");
  const boost::json::value* removed = object.if_contains("removed");
  proxy.removed = removed != nullptr && removed->is_bool() && removed->get_bool();
  return proxy;
}

// Eight bytes, the first such that the serial which they begin is positive and keeps its length.
std::string new_join() {
  std::string bytes = random_bytes(8);
  bytes[0] = static_cast<char>((bytes[0] & 0x3f) | 0x40);
  return bytes;
}

std::string bytes_from_hex(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

google::protobuf::Timestamp timestamp_of(std::int64_t ms) {
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(ms / 1000);
  timestamp.set_nanos(static_cast<int>(ms % 1000 * 1'000'000));
  return timestamp;
}

absl::Status denied(const std::string& text) { return absl::PermissionDeniedError(text); }

}  // namespace

absl::StatusOr<std::unique_ptr<Proxies>> Proxies::open(store::Store& store,
                                                       std::string organisation) {
  std::unique_ptr<Proxies> proxies(new Proxies(store, std::move(organisation)));
  SLUICE_ASSIGN_OR_RETURN(const std::vector<store::Document> documents,
                          store.list_documents(proxies->organisation_, kProxiesCollection));
  for (const store::Document& document : documents) {
    SLUICE_ASSIGN_OR_RETURN(KnownProxy proxy, from_document(document));
    proxies->proxies_.emplace(document.key, std::move(proxy));
  }
  return proxies;
}

absl::Status Proxies::check(const Peer& peer) const {
  if (peer.kind != Peer::Kind::kProxy) {
    return denied("this needs a proxy's client certificate; join with a join token first");
  }
  const std::lock_guard lock(mutex_);
  const auto found = proxies_.find(peer.name);
  if (found == proxies_.end() || found->second.group != peer.group) {
    return denied(
        fmt::format("the proxy {} of group {} has not joined this control plane; join it "
                    "with a new join token",
                    peer.name, peer.group));
  }
  if (found->second.removed) {
    return denied(fmt::format(
        "the proxy {} was removed; to use it again, join it with a new join token", peer.name));
  }
  if (!peer.serial.starts_with(found->second.join)) {
    return denied(
        fmt::format("another proxy has joined as {} since; give each proxy a node id of "
                    "its own, or join this one again",
                    peer.name));
  }
  return absl::OkStatus();
}

std::vector<KnownProxy> Proxies::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<KnownProxy> all;
  for (const auto& [name, proxy] : proxies_) {
    if (!proxy.removed) {
      all.push_back(proxy);
    }
  }
  return all;
}

std::optional<KnownProxy> Proxies::find(const std::string& node_id) const {
  const std::lock_guard lock(mutex_);
  const auto found = proxies_.find(node_id);
  return found == proxies_.end() ? std::nullopt : std::optional(found->second);
}

absl::Status Proxies::remember(KnownProxy proxy) {
  SLUICE_RETURN_IF_ERROR(
      store_.put_document(organisation_, kProxiesCollection, proxy.node_id, to_blob(proxy), 0));
  const std::lock_guard lock(mutex_);
  const std::string key = proxy.node_id;
  proxies_.insert_or_assign(key, std::move(proxy));
  return absl::OkStatus();
}

absl::Status Proxies::remove(const std::string& node_id) {
  std::optional<KnownProxy> proxy = find(node_id);
  if (!proxy || proxy->removed) {
    return not_found(fmt::format("there is no proxy {}", node_id));
  }
  proxy->removed = true;
  return remember(*std::move(proxy));
}

Joining::Joining(store::Store& store, const Authority& authority, Proxies& proxies,
                 std::function<bool(const std::string&)> connected, std::string organisation)
    : store_(store),
      authority_(authority),
      proxies_(proxies),
      connected_(std::move(connected)),
      organisation_(std::move(organisation)) {}

absl::StatusOr<admin::v1::CreateJoinTokenResponse> Joining::create_token(
    const admin::v1::CreateJoinTokenRequest& request, Wall now) {
  const std::string group = request.group().empty() ? "default" : request.group();
  const int uses = request.uses() == 0 ? 1 : request.uses();
  const std::int64_t life = request.ttl_s() == 0 ? limits::kJoinTokenLifeDefaultS : request.ttl_s();
  if (uses < 1 || uses > limits::kJoinTokenUsesMax) {
    return invalid_argument(fmt::format("uses: must be 1 to {}", limits::kJoinTokenUsesMax));
  }
  if (life < 1 || life > limits::kJoinTokenLifeMaxS) {
    return invalid_argument(
        fmt::format("ttl_s: must be 1 to {} (30 days)", limits::kJoinTokenLifeMaxS));
  }
  const absl::StatusOr<store::Row> row = store_.get(organisation_, "GatewayGroup", group);
  if (absl::IsNotFound(row.status())) {
    return not_found(fmt::format("group: there is no GatewayGroup {}", group));
  }
  SLUICE_RETURN_IF_ERROR(row.status());
  const std::string token = "slj1." + base64url(boost::json::serialize(boost::json::object{
                                          {"group", group},
                                          {"ca_sha256", authority_.fingerprint()},
                                          {"secret", base64url(random_bytes(32))}}));
  const std::int64_t expires_ms = to_ms(now) + life * 1000;
  SLUICE_RETURN_IF_ERROR(store_.put_document(
      organisation_, kTokensCollection, hex(sha256(token)),
      boost::json::serialize(boost::json::object{{"group", group}, {"uses", uses}}), expires_ms));
  admin::v1::CreateJoinTokenResponse response;
  response.set_token(token);
  *response.mutable_expires() = timestamp_of(expires_ms);
  return response;
}

absl::StatusOr<std::string> Joining::use_token(const std::string& token, Wall now) {
  const std::string key = hex(sha256(token));
  const absl::StatusOr<store::Document> document =
      store_.get_document(organisation_, kTokensCollection, key);
  if (absl::IsNotFound(document.status()) ||
      (document.ok() && document->expires_ms <= to_ms(now))) {
    return denied(
        "the join token is unknown, used up or expired; make a new one with `sluicectl join-token "
        "create`");
  }
  SLUICE_RETURN_IF_ERROR(document.status());
  SLUICE_ASSIGN_OR_RETURN(boost::json::object object, parse_object(*document));
  const std::int64_t uses = number_at(object, "uses") - 1;
  if (uses < 1) {
    SLUICE_RETURN_IF_ERROR(store_.delete_document(organisation_, kTokensCollection, key));
  } else {
    object["uses"] = uses;
    SLUICE_RETURN_IF_ERROR(store_.put_document(organisation_, kTokensCollection, key,
                                               boost::json::serialize(object),
                                               document->expires_ms));
  }
  return text_at(object, "group");
}

absl::StatusOr<admin::v1::JoinResponse> Joining::sign(const std::string& csr_pem, KnownProxy proxy,
                                                      Wall now) {
  proxy.certificate_expires_ms = to_ms(now + limits::kProxyCertificateLife);
  const Subject subject{.names = {},
                        .uri = fmt::format("spiffe://sluice/{}/{}", proxy.group, proxy.node_id),
                        .join = bytes_from_hex(proxy.join),
                        .server = false,
                        .life = limits::kProxyCertificateLife};
  admin::v1::JoinResponse response;
  SLUICE_ASSIGN_OR_RETURN(*response.mutable_certificate_pem(),
                          authority_.sign(csr_pem, subject, now));
  response.set_ca_pem(authority_.certificate_pem());
  SLUICE_RETURN_IF_ERROR(proxies_.remember(std::move(proxy)));
  return response;
}

absl::StatusOr<admin::v1::JoinResponse> Joining::join(const admin::v1::JoinRequest& request,
                                                      Wall now) {
  if (!valid_name(request.node_id())) {
    return invalid_argument(
        "node_id: must be letters, digits, '.', '_' and '-', begin with a letter or digit, and "
        "have "
        "at most 63");
  }
  const std::lock_guard lock(mutex_);
  // Whatever may be wrong with the request is found before the token is spent on it.
  const Subject probe{.names = {},
                      .uri = "spiffe://sluice/x/x",
                      .join = "",
                      .server = false,
                      .life = limits::kProxyCertificateLife};
  SLUICE_RETURN_IF_ERROR(authority_.sign(request.csr_pem(), probe, now).status());
  if (connected_(request.node_id())) {
    return absl::AlreadyExistsError(fmt::format(
        "node_id: a proxy {} is connected now; give each proxy a node id of its own, or "
        "remove that one first",
        request.node_id()));
  }
  SLUICE_ASSIGN_OR_RETURN(const std::string group, use_token(request.join_token(), now));
  const std::optional<KnownProxy> known = proxies_.find(request.node_id());
  if (known && !known->removed && known->group != group) {
    return absl::AlreadyExistsError(
        fmt::format("node_id: {} belongs to group {}; choose another, or remove that proxy first",
                    request.node_id(), known->group));
  }
  KnownProxy proxy;
  proxy.node_id = request.node_id();
  proxy.group = group;
  proxy.join = hex(new_join());
  proxy.joined_ms = to_ms(now);
  return sign(request.csr_pem(), std::move(proxy), now);
}

absl::StatusOr<admin::v1::JoinResponse> Joining::renew(const admin::v1::RenewRequest& request,
                                                       const Peer& peer, Wall now) {
  SLUICE_RETURN_IF_ERROR(proxies_.check(peer));
  const std::lock_guard lock(mutex_);
  std::optional<KnownProxy> proxy = proxies_.find(peer.name);
  if (!proxy) {
    return not_found(fmt::format("there is no proxy {}", peer.name));
  }
  return sign(request.csr_pem(), *std::move(proxy), now);
}

absl::StatusOr<admin::v1::CreateClientCertificateResponse> Joining::create_client_certificate(
    const admin::v1::CreateClientCertificateRequest& request, Wall now) {
  if (!valid_name(request.name())) {
    return invalid_argument(
        "name: must be letters, digits, '.', '_' and '-', begin with a letter or digit, and have "
        "at "
        "most 63");
  }
  const Subject subject{.names = {},
                        .uri = "spiffe://sluice-operator/" + request.name(),
                        .join = "",
                        .server = false,
                        .life = limits::kOperatorCertificateLife};
  SLUICE_ASSIGN_OR_RETURN(KeyPair pair, authority_.issue(subject, now));
  admin::v1::CreateClientCertificateResponse response;
  response.set_certificate_pem(std::move(pair.certificate_pem));
  response.set_private_key_pem(std::move(pair.private_key_pem));
  response.set_ca_pem(authority_.certificate_pem());
  return response;
}

}  // namespace sluice::controlplane::pki
