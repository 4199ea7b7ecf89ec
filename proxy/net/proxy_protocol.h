// The PROXY protocol's header, versions 1 and 2: what a load balancer says of the client before the
// client's own bytes (https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt). Sans-I/O.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "proxy/base/status.h"
#include "proxy/net/side.h"

namespace sluice::net {

struct ProxyHeader {
  std::size_t size = 0;  // bytes of the header
  // None: it speaks for itself (LOCAL, UNKNOWN, or a family without addresses of clients), so the
  // peer is the client.
  std::optional<PeerAddress> client;
};

// `bytes`: of a stream's begin. None: more are needed. INVALID_ARGUMENT: it is no header, for
// people. Strict: a version 1 line must be exactly of the form that section 2.1 gives; a version 2
// header may be at most limits::kProxyHeaderBytesMax long, its TLVs are skipped.
absl::StatusOr<std::optional<ProxyHeader>> parse_proxy_header(std::string_view bytes);

}  // namespace sluice::net
