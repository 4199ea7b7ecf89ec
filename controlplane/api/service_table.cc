#include "controlplane/api/service_table.h"

#include <fmt/format.h>

#include "proxy/base/check.h"

namespace sluice::controlplane::api {
namespace {

absl::Status unauthenticated(std::string_view text) {
  return absl::UnauthenticatedError(to_absl(text));
}

absl::Status permission_denied(std::string_view text) {
  return absl::PermissionDeniedError(to_absl(text));
}

}  // namespace

void ServiceTable::add(const std::string& name, Options options, Handler handler) {
  const auto* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(name);
  SLUICE_CHECK(descriptor != nullptr);
  Method method;
  method.descriptor = descriptor;
  method.access = options.access;
  method.waits = options.waits;
  method.handler = std::move(handler);
  SLUICE_CHECK(methods_.emplace(name, std::move(method)).second);
}

const Method* ServiceTable::find(std::string_view path) const {
  if (path.starts_with('/')) {
    path.remove_prefix(1);
  }
  std::string name(path);
  const std::size_t slash = name.rfind('/');
  if (slash == std::string::npos) {
    return nullptr;
  }
  name[slash] = '.';
  const auto found = methods_.find(name);
  return found == methods_.end() ? nullptr : &found->second;
}

std::map<const google::protobuf::ServiceDescriptor*, std::vector<const Method*>>
ServiceTable::services() const {
  std::map<const google::protobuf::ServiceDescriptor*, std::vector<const Method*>> services;
  for (const auto& [name, method] : methods_) {
    services[method.descriptor->service()].push_back(&method);
  }
  return services;
}

absl::Status ServiceTable::admit(const Method& method, CallContext& context) const {
  if (system_mono() >= context.deadline) {
    return deadline_exceeded("the deadline passed before the call's turn came");
  }
  const bool grpc = context.transport == Transport::kGrpc;
  switch (method.access) {
    case Access::kAnyone:
      break;
    case Access::kJoin:
      return grpc ? absl::OkStatus() : absl::UnimplementedError("is served by gRPC only");
    case Access::kProxy:
      return !grpc ? absl::UnimplementedError("is served by gRPC only")
             : context.certificate.kind == pki::Peer::Kind::kProxy
                 ? absl::OkStatus()
                 : unauthenticated("needs the client certificate of a proxy that has joined");
    case Access::kUser:
      break;
  }
  if (context.certificate.kind == pki::Peer::Kind::kProxy) {
    return permission_denied("a proxy's certificate does not reach the admin services");
  }
  if (grpc && !context.loopback && !context.plaintext &&
      context.certificate.kind != pki::Peer::Kind::kOperator) {
    return unauthenticated(
        "beyond loopback gRPC needs a client certificate too: sluicectl client-cert create NAME");
  }
  if (method.access == Access::kAnyone) {
    return absl::OkStatus();
  }
  if (context.bearer.empty()) {
    return unauthenticated(
        "needs `authorization: Bearer TOKEN`; get the token by AuthService/Login (sluicectl "
        "login)");
  }
  SLUICE_ASSIGN_OR_RETURN(context.user, authenticator_(context.bearer));
  return absl::OkStatus();
}

}  // namespace sluice::controlplane::api
