#include "proxy/websocket/extensions.h"

#include <algorithm>

namespace sluice::websocket {
namespace {

constexpr std::string_view kServerNoContext = "server_no_context_takeover";
constexpr std::string_view kClientNoContext = "client_no_context_takeover";
constexpr std::string_view kServerWindow = "server_max_window_bits";
constexpr std::string_view kClientWindow = "client_max_window_bits";

// Takes lists apart by hand: commas and semicolons may stand inside quoted strings.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}

  bool at_end() {
    skip_space();
    return rest_.empty();
  }
  bool take(char c) {
    skip_space();
    if (!rest_.starts_with(c)) {
      return false;
    }
    rest_.remove_prefix(1);
    return true;
  }
  // Empty if there is no token here.
  std::string token() {
    skip_space();
    std::size_t size = 0;
    while (size < rest_.size() && http::is_token(rest_.substr(size, 1))) {
      ++size;
    }
    std::string out(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return out;
  }
  // After the opening quote. Empty if it is not closed or holds no token (RFC 6455 section 9.1).
  std::string quoted() {
    std::string out;
    while (!rest_.empty()) {
      char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') {
        return http::is_token(out) ? out : std::string();
      }
      if (c == '\\' && !rest_.empty()) {
        c = rest_.front();
        rest_.remove_prefix(1);
      }
      out += c;
    }
    return {};
  }

 private:
  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t"), rest_.size())); }

  std::string_view rest_;
};

std::optional<ExtensionParameter> parse_parameter(Cursor& cursor) {
  ExtensionParameter parameter;
  parameter.name = cursor.token();
  if (parameter.name.empty()) {
    return std::nullopt;
  }
  if (cursor.take('=')) {
    parameter.value = cursor.take('"') ? cursor.quoted() : cursor.token();
    if (parameter.value->empty()) {
      return std::nullopt;
    }
  }
  return parameter;
}

std::optional<Extension> parse_extension(Cursor& cursor) {
  Extension extension;
  extension.name = cursor.token();
  if (extension.name.empty()) {
    return std::nullopt;
  }
  while (cursor.take(';')) {
    std::optional<ExtensionParameter> parameter = parse_parameter(cursor);
    if (!parameter) {
      return std::nullopt;
    }
    extension.parameters.push_back(*std::move(parameter));
  }
  return extension;
}

// RFC 7692 section 7.1.2: 8 to 15 without leading zeros.
std::optional<int> window_bits(const std::optional<std::string>& value) {
  if (!value) {
    return std::nullopt;
  }
  if (value->size() == 1 && (*value == "8" || *value == "9")) {
    return (*value)[0] - '0';
  }
  if (value->size() == 2 && (*value)[0] == '1' && (*value)[1] >= '0' && (*value)[1] <= '5') {
    return 10 + (*value)[1] - '0';
  }
  return std::nullopt;
}

bool take_flag(const ExtensionParameter& parameter, bool& flag) {
  if (flag || parameter.value) {
    return false;
  }
  flag = true;
  return true;
}

bool take_bits(const ExtensionParameter& parameter, std::optional<int>& bits) {
  if (bits) {
    return false;
  }
  bits = window_bits(parameter.value);
  return bits.has_value();
}

bool take_parameter(const ExtensionParameter& parameter, bool answer, DeflateParameters& out) {
  if (parameter.name == kServerNoContext) {
    return take_flag(parameter, out.server_no_context_takeover);
  }
  if (parameter.name == kClientNoContext) {
    return take_flag(parameter, out.client_no_context_takeover);
  }
  if (parameter.name == kServerWindow) {
    return take_bits(parameter, out.server_max_window_bits);
  }
  if (parameter.name != kClientWindow || out.client_max_window_bits_any) {
    return false;
  }
  if (!parameter.value && !answer) {
    return !out.client_max_window_bits && take_flag(parameter, out.client_max_window_bits_any);
  }
  return take_bits(parameter, out.client_max_window_bits);
}

bool is_deflate(const Extension& extension) { return extension.name == kPermessageDeflate; }

void add_flag(Extension& extension, std::string_view name) {
  const bool there = std::any_of(extension.parameters.begin(), extension.parameters.end(),
                                 [&](const ExtensionParameter& p) { return p.name == name; });
  if (!there) {
    extension.parameters.push_back({std::string(name), std::nullopt});
  }
}

}  // namespace

std::optional<Extensions> parse_extensions(std::string_view value) {
  Extensions out;
  Cursor cursor(value);
  while (!cursor.at_end()) {
    if (cursor.take(',')) {  // an empty member (RFC 9110 section 5.6.1.2)
      continue;
    }
    std::optional<Extension> extension = parse_extension(cursor);
    if (!extension || !(cursor.at_end() || cursor.take(','))) {
      return std::nullopt;
    }
    out.push_back(*std::move(extension));
  }
  return out;
}

std::optional<Extensions> parse_extensions(const http::Headers& headers) {
  Extensions out;
  for (const std::string_view value : headers.all("Sec-WebSocket-Extensions")) {
    std::optional<Extensions> part = parse_extensions(value);
    if (!part) {
      return std::nullopt;
    }
    std::move(part->begin(), part->end(), std::back_inserter(out));
  }
  return out;
}

std::string format_extensions(const Extensions& extensions) {
  std::string out;
  for (const Extension& extension : extensions) {
    out.append(out.empty() ? "" : ", ").append(extension.name);
    for (const ExtensionParameter& parameter : extension.parameters) {
      out.append("; ").append(parameter.name);
      if (parameter.value) {
        out.append("=").append(*parameter.value);
      }
    }
  }
  return out;
}

std::optional<std::vector<std::string>> parse_subprotocols(const http::Headers& headers) {
  std::vector<std::string> out;
  for (const std::string_view name : headers.tokens("Sec-WebSocket-Protocol")) {
    if (!http::is_token(name) || std::find(out.begin(), out.end(), name) != out.end()) {
      return std::nullopt;
    }
    out.emplace_back(name);
  }
  return out;
}

std::string format_subprotocols(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    out.append(out.empty() ? "" : ", ").append(name);
  }
  return out;
}

std::optional<DeflateParameters> parse_deflate(const Extension& extension, bool answer) {
  if (!is_deflate(extension)) {
    return std::nullopt;
  }
  DeflateParameters out;
  for (const ExtensionParameter& parameter : extension.parameters) {
    if (!take_parameter(parameter, answer, out)) {
      return std::nullopt;
    }
  }
  return out;
}

bool deflate_answers(const DeflateParameters& offer, const DeflateParameters& answer) {
  if (offer.server_no_context_takeover && !answer.server_no_context_takeover) {
    return false;
  }
  if (offer.server_max_window_bits &&
      (!answer.server_max_window_bits ||
       *answer.server_max_window_bits > *offer.server_max_window_bits)) {
    return false;
  }
  if (!answer.client_max_window_bits) {
    return true;
  }
  return offer.client_max_window_bits_any ||
         (offer.client_max_window_bits &&
          *answer.client_max_window_bits <= *offer.client_max_window_bits);
}

DeflateState deflate_state(const Extensions& accepted) {
  for (const Extension& extension : accepted) {
    if (const auto parameters = parse_deflate(extension, true)) {
      return {true, !parameters->client_no_context_takeover,
              !parameters->server_no_context_takeover};
    }
  }
  return {};
}

void reset_contexts_in_offer(Extensions& offer) {
  for (Extension& extension : offer) {
    if (is_deflate(extension)) {
      add_flag(extension, kServerNoContext);
      add_flag(extension, kClientNoContext);
    }
  }
}

void reset_client_context_in_answer(Extensions& accepted) {
  for (Extension& extension : accepted) {
    if (is_deflate(extension)) {
      add_flag(extension, kClientNoContext);
    }
  }
}

}  // namespace sluice::websocket
