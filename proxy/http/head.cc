#include "proxy/http/head.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <iterator>

namespace sluice::http {
namespace {

void append_fields(std::string& out, const Headers& headers) {
  for (const Headers::Field field : headers) {
    out.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  out.append("\r\n");
}

std::size_t fields_size(const Headers& headers) {
  std::size_t size = 2;
  for (const Headers::Field field : headers) {
    size += field.name.size() + field.value.size() + 4;
  }
  return size;
}

constexpr std::array kHopByHop = {
    std::string_view("Connection"),
    std::string_view("Keep-Alive"),
    std::string_view("Proxy-Connection"),
    std::string_view("Proxy-Authenticate"),
    std::string_view("Proxy-Authorization"),
    std::string_view("TE"),
    std::string_view("Trailer"),
    std::string_view("Transfer-Encoding"),
    std::string_view("Upgrade"),
};

// Names, and (with a final '-') beginnings of names, that Connection cannot nominate.
constexpr std::array kEndToEnd = {
    std::string_view("Accept-"),       std::string_view("Accept"),
    std::string_view("Age"),           std::string_view("Apikey"),
    std::string_view("Authorization"), std::string_view("Cache-Control"),
    std::string_view("Content-"),      std::string_view("Cookie"),
    std::string_view("Date"),          std::string_view("ETag"),
    std::string_view("Expires"),       std::string_view("Forwarded"),
    std::string_view("Host"),          std::string_view("If-"),
    std::string_view("Location"),      std::string_view("Origin"),
    std::string_view("Range"),         std::string_view("Sec-"),
    std::string_view("Server"),        std::string_view("Set-Cookie"),
    std::string_view("Traceparent"),   std::string_view("Tracestate"),
    std::string_view("User-Agent"),    std::string_view("Vary"),
    std::string_view("Via"),           std::string_view("WWW-Authenticate"),
    std::string_view("X-Forwarded-"),  std::string_view("X-Real-IP"),
    std::string_view("X-Request-Id"),
};

bool ends_elsewhere(std::string_view name) {
  return std::any_of(kEndToEnd.begin(), kEndToEnd.end(), [&](std::string_view known) {
    return equal_ignoring_case(known.ends_with('-') ? name.substr(0, known.size()) : name, known);
  });
}

}  // namespace

std::string serialize(const RequestHead& head) {
  std::string out;
  out.reserve(head.method.size() + head.target.size() + 12 + fields_size(head.headers));
  out.append(head.method).append(" ").append(head.target).append(" HTTP/1.1\r\n");
  append_fields(out, head.headers);
  return out;
}

std::string serialize(const ResponseHead& head) {
  std::string out;
  out.reserve(64 + head.reason.size() + fields_size(head.headers));
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {:03} {}\r\n", head.status,
                 head.reason.empty() ? reason_phrase(head.status) : std::string_view(head.reason));
  append_fields(out, head.headers);
  return out;
}

std::string simple_response(int status, Headers headers, std::string_view body) {
  const bool bodiless = status < 200 || status == 204 || status == 304;
  headers.remove("Content-Length");
  headers.remove("Transfer-Encoding");
  if (!bodiless) {
    headers.add("Content-Length", fmt::format("{}", body.size()));
  }
  ResponseHead head;
  head.status = status;
  head.headers = std::move(headers);
  std::string out = serialize(head);
  if (!bodiless) {
    out.append(body);
  }
  return out;
}

std::string_view reason_phrase(int status) {
  struct Phrase {
    int status;
    std::string_view text;
  };
  static constexpr std::array kPhrases = {
      Phrase{100, "Continue"},
      Phrase{101, "Switching Protocols"},
      Phrase{103, "Early Hints"},
      Phrase{200, "OK"},
      Phrase{201, "Created"},
      Phrase{202, "Accepted"},
      Phrase{203, "Non-Authoritative Information"},
      Phrase{204, "No Content"},
      Phrase{205, "Reset Content"},
      Phrase{206, "Partial Content"},
      Phrase{300, "Multiple Choices"},
      Phrase{301, "Moved Permanently"},
      Phrase{302, "Found"},
      Phrase{303, "See Other"},
      Phrase{304, "Not Modified"},
      Phrase{307, "Temporary Redirect"},
      Phrase{308, "Permanent Redirect"},
      Phrase{400, "Bad Request"},
      Phrase{401, "Unauthorized"},
      Phrase{402, "Payment Required"},
      Phrase{403, "Forbidden"},
      Phrase{404, "Not Found"},
      Phrase{405, "Method Not Allowed"},
      Phrase{406, "Not Acceptable"},
      Phrase{407, "Proxy Authentication Required"},
      Phrase{408, "Request Timeout"},
      Phrase{409, "Conflict"},
      Phrase{410, "Gone"},
      Phrase{411, "Length Required"},
      Phrase{412, "Precondition Failed"},
      Phrase{413, "Content Too Large"},
      Phrase{414, "URI Too Long"},
      Phrase{415, "Unsupported Media Type"},
      Phrase{416, "Range Not Satisfiable"},
      Phrase{417, "Expectation Failed"},
      Phrase{421, "Misdirected Request"},
      Phrase{422, "Unprocessable Content"},
      Phrase{425, "Too Early"},
      Phrase{426, "Upgrade Required"},
      Phrase{428, "Precondition Required"},
      Phrase{429, "Too Many Requests"},
      Phrase{431, "Request Header Fields Too Large"},
      Phrase{451, "Unavailable For Legal Reasons"},
      Phrase{500, "Internal Server Error"},
      Phrase{502, "Bad Gateway"},
      Phrase{503, "Service Unavailable"},
      Phrase{504, "Gateway Timeout"},
      Phrase{505, "HTTP Version Not Supported"},
      Phrase{507, "Insufficient Storage"},
      Phrase{511, "Network Authentication Required"},
  };
  for (const Phrase& phrase : kPhrases) {
    if (phrase.status == status) {
      return phrase.text;
    }
  }
  static constexpr std::array kClasses = {
      std::string_view("Informational"), std::string_view("Success"),
      std::string_view("Redirection"), std::string_view("Client Error"),
      std::string_view("Server Error")};
  const int of_class = status / 100 - 1;
  return of_class >= 0 && of_class < 5 ? kClasses[static_cast<std::size_t>(of_class)] : "Unknown";
}

void remove_hop_by_hop(Headers& headers) {
  // Copies, because the views end with the first removal.
  std::vector<std::string> nominated;
  for (const std::string_view name : headers.tokens("Connection")) {
    if (!ends_elsewhere(name)) {
      nominated.emplace_back(name);
    }
  }
  headers.remove_if([&](std::string_view name, std::string_view) {
    const auto same = [&](std::string_view other) { return equal_ignoring_case(name, other); };
    return std::any_of(kHopByHop.begin(), kHopByHop.end(), same) ||
           std::any_of(nominated.begin(), nominated.end(), same);
  });
}

std::string http_date(Wall time) {
  static constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t t = std::chrono::floor<seconds>(time.time_since_epoch()).count();
  std::tm tm{};
  gmtime_r(&t, &tm);
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
                     kDays[static_cast<std::size_t>(tm.tm_wday)], tm.tm_mday,
                     kMonths[static_cast<std::size_t>(tm.tm_mon)], tm.tm_year + 1900, tm.tm_hour,
                     tm.tm_min, tm.tm_sec);
}

}  // namespace sluice::http
