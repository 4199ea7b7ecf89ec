#include "proxy/admin/render.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <fstream>

namespace sluice::admin {
namespace {

namespace json = boost::json;

json::string text(std::string_view value) { return json::string(value.data(), value.size()); }

json::array texts(const std::vector<std::string>& values) {
  json::array array;
  for (const std::string& value : values) {
    array.emplace_back(text(value));
  }
  return array;
}

std::string_view state_text(model::ApiState state) {
  switch (state) {
    case model::ApiState::kCreated:
      return "CREATED";
    case model::ApiState::kPrototyped:
      return "PROTOTYPED";
    case model::ApiState::kPublished:
      return "PUBLISHED";
    case model::ApiState::kBlocked:
      return "BLOCKED";
    case model::ApiState::kDeprecated:
      return "DEPRECATED";
    case model::ApiState::kRetired:
      return "RETIRED";
  }
  return "";
}

std::string_view action_text(model::LimitAction action) {
  switch (action) {
    case model::LimitAction::kNotify:
      return "notify";
    case model::LimitAction::kDrop:
      return "drop";
    case model::LimitAction::kDelay:
      return "delay";
    case model::LimitAction::kClose:
      return "close";
  }
  return "";
}

double in_seconds(nanoseconds time) { return std::chrono::duration<double>(time).count(); }

json::array filter_names(const std::vector<config::CompiledFilter>& filters) {
  json::array array;
  for (const config::CompiledFilter& filter : filters) {
    array.emplace_back(text(filter.name));
  }
  return array;
}

json::object render_api(const config::CompiledApi& compiled) {
  const model::Api& api = compiled.api;
  json::object object;
  object["name"] = text(api.name);
  object["context"] = text(api.context);
  object["version"] = text(api.version);
  object["default_version"] = api.default_version;
  object["type"] = api.type == model::ApiType::kWebSocket ? "WS" : "HTTP";
  object["state"] = text(state_text(api.state));
  object["plans"] = texts(api.plans);
  if (!api.api_plan.empty()) {
    object["api_plan"] = text(api.api_plan);
  }
  object["allowed_origins"] = texts(api.allowed_origins);
  object["groups"] = texts(compiled.groups);
  if (compiled.production != nullptr) {
    object["production"] = render_cluster(*compiled.production);
  }
  if (compiled.sandbox != nullptr) {
    object["sandbox"] = render_cluster(*compiled.sandbox);
  }
  object["filters"] = filter_names(compiled.filters);
  json::object limits;
  limits["message_bytes_max"] = api.limits.message_bytes_max;
  limits["ping_interval_seconds"] = in_seconds(api.limits.ping_interval);
  limits["idle_timeout_seconds"] = in_seconds(api.limits.idle_timeout);
  limits["age_max_seconds"] = in_seconds(api.limits.age_max);
  object["limits"] = std::move(limits);
  return object;
}

// The map's values with names that begin with `prefix`, by name.
template <class V>
std::vector<std::shared_ptr<const V>> sorted(const config::ShardedMap<V>& map,
                                             std::string_view prefix) {
  std::vector<std::shared_ptr<const V>> list;
  map.visit([&](const std::shared_ptr<const V>& value) {
    if (value->key().substr(0, prefix.size()) == prefix) {
      list.push_back(value);
    }
  });
  std::sort(list.begin(), list.end(),
            [](const auto& a, const auto& b) { return a->key() < b->key(); });
  return list;
}

}  // namespace

json::array render_apis(const config::Snapshot& snapshot, std::string_view prefix) {
  json::array array;
  for (const auto& api : sorted(snapshot.apis(), prefix)) {
    array.emplace_back(render_api(*api));
  }
  return array;
}

json::array render_listeners(const config::Snapshot& snapshot, const worker::Bindings& bindings) {
  json::array array;
  for (const auto& listener : snapshot.listeners()) {
    json::object object;
    object["name"] = text(listener->name);
    object["address"] = text(listener->address);
    object["port"] = listener->port;
    const auto bound = bindings.find(listener->name);
    object["bound"] = bound != bindings.end();
    if (bound != bindings.end()) {
      object["bound_address"] = text(bound->second.address);
      object["bound_port"] = bound->second.port;
    }
    object["tls_secret"] = text(listener->secret);
    object["plaintext_exposed"] = listener->plaintext_exposed;
    object["filters"] = filter_names(listener->filters);
    object["request_head_bytes_max"] = listener->request_head_bytes_max;
    object["request_head_timeout_seconds"] = in_seconds(listener->request_head_timeout);
    array.emplace_back(std::move(object));
  }
  return array;
}

json::array render_plans(const config::Snapshot& snapshot) {
  json::array array;
  for (const auto& compiled : sorted(snapshot.plans(), "")) {
    const model::Plan& plan = compiled->plan;
    json::object object;
    object["name"] = text(plan.name);
    object["messages"] = plan.messages;
    object["bytes"] = plan.bytes;
    object["per_seconds"] = in_seconds(plan.per);
    object["on_limit"] = text(action_text(plan.on_limit));
    object["on_limit_backend"] = text(action_text(plan.on_limit_backend));
    array.emplace_back(std::move(object));
  }
  return array;
}

json::array render_refused(const config::Snapshot& snapshot) {
  json::array array;
  for (const config::ResourceKey& key : snapshot.refused()) {
    array.emplace_back(text(fmt::format("{} {}", config::kind_name(key.kind), key.name)));
  }
  return array;
}

json::array render_secrets(const config::Snapshot& snapshot) {
  json::array array;
  for (const auto& secret : sorted(snapshot.secrets(), "")) {
    json::object object;
    object["name"] = text(secret->name);
    if (secret->tls != nullptr) {
      object["certificate"] = render_certificate(net::certificate_info(*secret->tls));
    }
    array.emplace_back(std::move(object));
  }
  return array;
}

json::array render_connections(const std::vector<worker::ConnectionInfo>& connections, Wall now) {
  json::array array;
  for (const worker::ConnectionInfo& connection : connections) {
    json::object object;
    object["id"] = text(connection.id);
    object["listener"] = text(connection.listener);
    object["api"] = text(connection.api);
    object["application"] = text(connection.application);
    object["client_address"] = text(connection.client_address);
    object["endpoint"] = text(redact_url(connection.endpoint));
    object["worker"] = connection.worker;
    object["begin"] = text(format_time(connection.begin));
    object["age_seconds"] = duration_cast<seconds>(now - connection.begin).count();
    object["messages_up"] = connection.counts.messages_up;
    object["messages_down"] = connection.counts.messages_down;
    object["bytes_up"] = connection.counts.bytes_up;
    object["bytes_down"] = connection.counts.bytes_down;
    object["throttled_up"] = connection.counts.throttled_up;
    object["throttled_down"] = connection.counts.throttled_down;
    array.emplace_back(std::move(object));
  }
  return array;
}

json::object render_certificate(const net::CertificateInfo& info) {
  json::object object;
  object["subject"] = text(info.subject);
  object["issuer"] = text(info.issuer);
  object["names"] = texts(info.names);
  object["serial"] = text(info.serial);
  object["sha256"] = text(info.sha256);
  object["not_before"] = text(format_time(info.not_before));
  object["not_after"] = text(format_time(info.not_after));
  return object;
}

json::object render_memory() {
  json::object object;
  const struct mallinfo2 heap = ::mallinfo2();
  object["heap_used_bytes"] = heap.uordblks + heap.hblkhd;
  object["heap_free_bytes"] = heap.fordblks;
  std::ifstream file("/proc/self/smaps_rollup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) {
      continue;
    }
    const std::string_view name(line.data(), colon);
    if (name != "Rss" && name != "Pss" && name != "Private_Dirty") {
      continue;
    }
    const std::size_t begin = line.find_first_of("0123456789", colon);
    std::uint64_t kib = 0;
    if (begin != std::string::npos) {
      std::from_chars(line.data() + begin, line.data() + line.size(), kib);
    }
    std::string key = fmt::format("{}_bytes", name);
    std::transform(key.begin(), key.end(), key.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    object[key] = kib * 1024;
  }
  return object;
}

std::string redact_url(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) {
    return std::string(url);
  }
  const std::size_t begin = scheme + 3;
  const std::size_t end = std::min(url.find_first_of("/?#", begin), url.size());
  const std::size_t at = url.substr(0, end).rfind('@');
  if (at == std::string_view::npos || at < begin) {
    return std::string(url);
  }
  return fmt::format("{}[redacted]{}", url.substr(0, begin), url.substr(at));
}

std::string format_time(Wall time) {
  const std::time_t whole = duration_cast<seconds>(time.time_since_epoch()).count();
  std::tm parts{};
  ::gmtime_r(&whole, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string render_stats(std::string_view prometheus, std::string_view filter, bool used) {
  std::string result;
  while (!prometheus.empty()) {
    const std::size_t end = std::min(prometheus.find('\n'), prometheus.size());
    const std::string_view line = prometheus.substr(0, end);
    prometheus.remove_prefix(std::min(end + 1, prometheus.size()));
    const std::size_t space = line.rfind(' ');
    if (line.empty() || line.front() == '#' || space == std::string_view::npos ||
        line.find(filter) == std::string_view::npos) {
      continue;
    }
    const std::string_view value = line.substr(space + 1);
    if (!used || value != "0") {
      result += fmt::format("{}: {}\n", line.substr(0, space), value);
    }
  }
  return result;
}

}  // namespace sluice::admin
