#include "proxy/http/target.h"

#include <algorithm>

#include "proxy/base/limits.h"
#include "proxy/http/chars.h"

namespace sluice::http {
namespace {

constexpr char kHexDigits[] = "0123456789ABCDEF";

// The byte of the escape at text[at], or -1.
int escaped(std::string_view text, std::size_t at) {
  if (at + 3 > text.size()) {
    return -1;
  }
  const int high = chars::hex_value(text[at + 1]);
  const int low = chars::hex_value(text[at + 2]);
  return high < 0 || low < 0 ? -1 : high << 4 | low;
}

void append_escape(std::string& out, int byte) {
  out += '%';
  out += kHexDigits[byte >> 4];
  out += kHexDigits[byte & 15];
}

// Decodes unreserved characters, writes other escapes in upper case, refuses what must not be
// there.
absl::StatusOr<std::string> normalise_escapes(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  for (std::size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (!chars::is_visible(c) || c == '\\' || c == '#') {
      return invalid_argument("the path holds a backslash or a byte that must be escaped");
    }
    if (c != '%') {
      out += c;
      continue;
    }
    const int byte = escaped(path, i);
    if (byte < 0) {
      return invalid_argument("the path holds a broken escape");
    }
    if (byte < 0x20 || byte == 0x7f || byte == '/' || byte == '\\') {
      return invalid_argument("the path holds an encoded slash, backslash or control byte");
    }
    if (chars::is_unreserved(static_cast<char>(byte))) {
      out += static_cast<char>(byte);
    } else {
      append_escape(out, byte);
    }
    i += 2;
  }
  return out;
}

bool is_dots(std::string_view segment) { return segment == "." || segment == ".."; }

// RFC 3986 section 5.2.4, without climbing above the root and with runs of slashes made one.
absl::StatusOr<std::string> resolve_segments(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const std::size_t size = std::min(path.find('/'), path.size());
    const std::string_view segment = path.substr(0, size);
    path.remove_prefix(size);
    const bool last = path.empty();
    if (segment.find(';') != std::string_view::npos &&
        is_dots(segment.substr(0, segment.find(';')))) {
      return invalid_argument("the path holds a dot segment with a parameter");
    }
    if (segment == "..") {
      if (out.empty()) {
        return invalid_argument("the path climbs above the root");
      }
      out.erase(out.rfind('/'));
    }
    if (!segment.empty() && !is_dots(segment)) {
      out += '/';
      out += segment;
    } else if (last) {
      out += '/';
    }
  }
  return out;
}

// Decoded as a query's names and values are; a broken escape stands for itself.
std::string decode_query(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int byte = text[i] == '%' ? escaped(text, i) : -1;
    if (byte >= 0) {
      out += static_cast<char>(byte);
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

// Strict: none for a broken escape.
std::optional<std::string> decode_form(std::string_view text) {
  std::string spaced(text);
  std::replace(spaced.begin(), spaced.end(), '+', ' ');
  return percent_decode(spaced);
}

// Calls `each` with every piece between '&'s.
template <typename Each>
void for_each_piece(std::string_view query, Each each) {
  while (true) {
    const std::size_t amp = query.find('&');
    each(query.substr(0, amp));
    if (amp == std::string_view::npos) {
      return;
    }
    query.remove_prefix(amp + 1);
  }
}

bool names(std::string_view piece, std::string_view name) {
  return decode_query(piece.substr(0, piece.find('='))) == name;
}

std::string_view value_of(std::string_view piece) {
  const std::size_t equals = piece.find('=');
  return equals == std::string_view::npos ? std::string_view() : piece.substr(equals + 1);
}

void append_form(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == ' ') {
      out += '+';
    } else if (chars::is_unreserved(c) && c != '~') {
      out += c;
    } else {
      append_escape(out, static_cast<unsigned char>(c));
    }
  }
}

}  // namespace

absl::StatusOr<Target> parse_target(std::string_view target) {
  if (!target.starts_with('/')) {
    return invalid_argument("the request target is not a path");
  }
  const std::size_t mark = target.find('?');
  SLUICE_ASSIGN_OR_RETURN(const std::string escapes, normalise_escapes(target.substr(0, mark)));
  Target out;
  SLUICE_ASSIGN_OR_RETURN(out.path, resolve_segments(escapes));
  if (mark != std::string_view::npos) {
    out.query = target.substr(mark + 1);
  }
  return out;
}

std::string format_target(std::string_view path, std::string_view query) {
  std::string out(path);
  if (!query.empty()) {
    out.append("?").append(query);
  }
  return out;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int byte = escaped(text, i);
    if (byte < 0) {
      return std::nullopt;
    }
    out += static_cast<char>(byte);
    i += 2;
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (chars::is_unreserved(c)) {
      out += c;
    } else {
      append_escape(out, static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::vector<std::string> query_values(std::string_view query, std::string_view name) {
  std::vector<std::string> out;
  for_each_piece(query, [&](std::string_view piece) {
    if (names(piece, name)) {
      out.push_back(decode_query(value_of(piece)));
    }
  });
  return out;
}

std::optional<std::string> query_value(std::string_view query, std::string_view name) {
  std::vector<std::string> values = query_values(query, name);
  return values.empty() ? std::nullopt : std::optional(std::move(values.front()));
}

std::string remove_parameter(std::string_view query, std::string_view name) {
  std::string out;
  out.reserve(query.size());
  bool first = true;
  for_each_piece(query, [&](std::string_view piece) {
    if (names(piece, name)) {
      return;
    }
    out.append(first ? "" : "&").append(piece);
    first = false;
  });
  return out;
}

absl::StatusOr<Form> parse_form(std::string_view body) {
  Form form;
  bool broken = false;
  for_each_piece(body, [&](std::string_view piece) {
    if (piece.empty() || broken || form.size() > limits::kFormParametersMax) {
      return;
    }
    std::optional<std::string> name = decode_form(piece.substr(0, piece.find('=')));
    std::optional<std::string> value = decode_form(value_of(piece));
    if (!name || !value) {
      broken = true;
      return;
    }
    form.emplace_back(*std::move(name), *std::move(value));
  });
  if (broken) {
    return invalid_argument("the form holds a broken escape");
  }
  if (form.size() > limits::kFormParametersMax) {
    return invalid_argument("the form has too many parameters");
  }
  return form;
}

std::string format_form(const Form& form) {
  std::string out;
  for (const auto& [name, value] : form) {
    if (!out.empty()) {
      out += '&';
    }
    append_form(out, name);
    out += '=';
    append_form(out, value);
  }
  return out;
}

}  // namespace sluice::http
