#include "tests/bench/handshake.h"

#include <strings.h>

#include <charconv>

#include "proxy/base/encoding.h"

namespace sluice::bench {
namespace {

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
    text.remove_prefix(1);
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  return text;
}

}  // namespace

std::optional<std::size_t> head_size(std::string_view bytes) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos) {
    return std::nullopt;
  }
  return end + 4;
}

std::string_view header_value(std::string_view head, std::string_view name) {
  for (std::size_t at = head.find("\r\n"); at != std::string_view::npos;
       at = head.find("\r\n", at)) {
    at += 2;
    const std::string_view line = head.substr(at, head.find("\r\n", at) - at);
    const std::size_t colon = line.find(':');
    if (colon == name.size() && strncasecmp(line.data(), name.data(), colon) == 0) {
      return trim(line.substr(colon + 1));
    }
  }
  return {};
}

int status_of(std::string_view head) {
  int status = 0;
  if (head.starts_with("HTTP/1.1 ") && head.size() > 12) {
    std::from_chars(head.data() + 9, head.data() + 12, status);
  }
  return status;
}

std::string accept_value(std::string_view key) {
  std::string text(key);
  text += kGuid;
  const auto hash = sha1(text);
  return base64({reinterpret_cast<const char*>(hash.data()), hash.size()});
}

}  // namespace sluice::bench
