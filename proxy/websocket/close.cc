#include "proxy/websocket/close.h"

#include "proxy/websocket/utf8.h"

namespace sluice::websocket {

bool valid_close_code(std::uint16_t code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
         (code >= 3000 && code <= 4999);
}

std::optional<Close> parse_close(std::string_view payload) {
  if (payload.empty()) {
    return Close{};
  }
  if (payload.size() == 1) {
    return std::nullopt;
  }
  Close close;
  close.code = static_cast<std::uint16_t>(static_cast<unsigned char>(payload[0]) << 8 |
                                          static_cast<unsigned char>(payload[1]));
  close.reason = payload.substr(2);
  if (!valid_close_code(close.code) || !valid_utf8(close.reason)) {
    return std::nullopt;
  }
  return close;
}

}  // namespace sluice::websocket
