// PROXY protocol headers: no crash; a header lies within its bytes, its address is one, every
// shorter beginning asks for more, and what follows changes nothing.
#include <arpa/inet.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proxy/base/check.h"
#include "proxy/base/limits.h"
#include "proxy/net/proxy_protocol.h"

namespace sluice::net {
namespace {

void fuzz(std::string_view bytes) {
  const auto parsed = parse_proxy_header(bytes);
  if (!parsed.ok()) {
    return;
  }
  if (!*parsed) {
    SLUICE_CHECK(bytes.size() < limits::kProxyHeaderBytesMax);
    return;
  }
  const ProxyHeader& header = **parsed;
  SLUICE_CHECK(header.size > 0 && header.size <= bytes.size());
  if (header.client) {
    in6_addr address;
    const char* ip = header.client->ip.c_str();
    SLUICE_CHECK(::inet_pton(AF_INET, ip, &address) == 1 ||
                 ::inet_pton(AF_INET6, ip, &address) == 1);
  }
  for (std::size_t size = 0; size < header.size; ++size) {
    const auto shorter = parse_proxy_header(bytes.substr(0, size));
    SLUICE_CHECK(shorter.ok() && !*shorter);
  }
  const auto alone = parse_proxy_header(bytes.substr(0, header.size));
  SLUICE_CHECK(alone.ok() && *alone && (*alone)->size == header.size);
}

}  // namespace
}  // namespace sluice::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::net::fuzz({reinterpret_cast<const char*>(data), size});
  return 0;
}
