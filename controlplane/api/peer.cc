#include "controlplane/api/peer.h"

#include <grpcpp/server_context.h>

#include <algorithm>
#include <cctype>
#include <chrono>

namespace sluice::controlplane::api {
namespace {

constexpr std::string_view kBearer = "bearer ";

std::string bearer_of(const grpc::ServerContextBase& call) {
  const auto& metadata = call.client_metadata();
  const auto found = metadata.find("authorization");
  if (found == metadata.end()) {
    return "";
  }
  const std::string_view value(found->second.data(), found->second.size());
  const bool bearer = value.size() > kBearer.size() &&
                      std::equal(kBearer.begin(), kBearer.end(), value.begin(), [](char a, char b) {
                        return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b)));
                      });
  return bearer ? std::string(value.substr(kBearer.size())) : "";
}

bool is_plaintext(const grpc::ServerContextBase& call) {
  const std::shared_ptr<const grpc::AuthContext> auth = call.auth_context();
  if (auth == nullptr) {
    return true;
  }
  const auto type = auth->FindPropertyValues("transport_security_type");
  return type.empty() || type[0] != "ssl";
}

Mono deadline_of(const grpc::ServerContextBase& call) {
  const std::chrono::system_clock::time_point deadline = call.deadline();
  const auto left = deadline - std::chrono::system_clock::now();
  return left > std::chrono::hours(24 * 365) ? kNever
                                             : system_mono() + duration_cast<nanoseconds>(left);
}

}  // namespace

std::string ip_of_peer(std::string_view peer) {
  const std::size_t scheme = peer.find(':');
  const std::size_t port = peer.rfind(':');
  if (scheme == std::string_view::npos || port <= scheme || !peer.starts_with("ipv")) {
    return "";
  }
  std::string ip(peer.substr(scheme + 1, port - scheme - 1));
  // gRPC escapes the brackets of IPv6.
  for (const auto& [from, length] :
       {std::pair("%5B", 3), std::pair("%5D", 3), std::pair("[", 1), std::pair("]", 1)}) {
    if (const std::size_t at = ip.find(from); at != std::string::npos) {
      ip.erase(at, static_cast<std::size_t>(length));
    }
  }
  return ip;
}

bool is_loopback_peer(std::string_view peer) {
  const std::string ip = ip_of_peer(peer);
  return ip.starts_with("127.") || ip == "::1" || ip.starts_with("::ffff:127.") ||
         peer.starts_with("unix:");
}

pki::Peer certificate_of(const grpc::ServerContextBase& call) {
  const std::shared_ptr<const grpc::AuthContext> auth = call.auth_context();
  if (auth == nullptr) {
    return {};
  }
  const std::vector<grpc::string_ref> pem = auth->FindPropertyValues("x509_pem_cert");
  if (pem.empty()) {
    return {};
  }
  const auto peer = pki::peer_from_certificate(std::string(pem[0].data(), pem[0].size()));
  return peer.ok() ? *peer : pki::Peer{};
}

CallContext context_of(const grpc::ServerContextBase& call) {
  CallContext context;
  context.transport = Transport::kGrpc;
  context.bearer = bearer_of(call);
  context.client_address = ip_of_peer(call.peer());
  context.loopback = is_loopback_peer(call.peer());
  context.plaintext = is_plaintext(call);
  context.certificate = certificate_of(call);
  context.deadline = deadline_of(call);
  context.cancelled = [&call] { return call.IsCancelled(); };
  return context;
}

}  // namespace sluice::controlplane::api
