// Who is at the other end of a gRPC call.
#pragma once

#include <string>
#include <string_view>

#include "controlplane/api/service_table.h"

namespace grpc {
class ServerContextBase;
}

namespace sluice::controlplane::api {

// The IP of gRPC's `ipv4:1.2.3.4:5`, `ipv6:%5B::1%5D:5` or `unix:/path` (none: "").
std::string ip_of_peer(std::string_view peer);
// 127.0.0.0/8, ::1, or a socket in the file system.
bool is_loopback_peer(std::string_view peer);

// The holder of the call's verified client certificate; kNone without one, or if it is none of
// ours.
pki::Peer certificate_of(const grpc::ServerContextBase& call);

// All that the metadata, the connection and the deadline say. `call` outlives the result.
CallContext context_of(const grpc::ServerContextBase& call);

}  // namespace sluice::controlplane::api
