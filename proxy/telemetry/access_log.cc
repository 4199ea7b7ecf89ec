#include "proxy/telemetry/access_log.h"

#include <algorithm>
#include <utility>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/http/target.h"
#include "proxy/telemetry/json_line.h"
#include "proxy/telemetry/names.h"

namespace sluice::telemetry {
namespace {

constexpr int kSwitchingProtocols = 101;

}  // namespace

std::string_view event_name(AccessEntry::Event event) {
  switch (event) {
    case AccessEntry::Event::kRefused:
      return "refused";
    case AccessEntry::Event::kOpened:
      return "opened";
    case AccessEntry::Event::kClosed:
      return "closed";
    case AccessEntry::Event::kRequest:
      return "request";
  }
  return "";
}

std::string redact_query(std::string_view query) {
  std::string out;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    const std::string_view name = pair.substr(0, pair.find('='));
    const std::string decoded = http::percent_decode(name).value_or("");
    out += out.empty() ? "" : "&";
    if (decoded == "access_token" || decoded == "apikey") {
      out += name;
      out += "=redacted";
    } else {
      out += pair;
    }
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return out;
}

std::string to_json_line(const AccessEntry& entry) {
  using Event = AccessEntry::Event;
  const Facts& facts = entry.facts;
  JsonLine line;
  line.add("kind", "access")
      .add("time", entry.time)
      .add("event", event_name(entry.event))
      .add("id", facts.connection_id)
      .add("listener", facts.listener)
      .add("client", facts.client_address)
      .add_if("method", entry.method)
      .add_if("path", entry.path)
      .add_if("query", redact_query(entry.query))
      .add_if("api", facts.api)
      .add_if("api_version", facts.api_version)
      .add_if("topic", facts.topic)
      .add_if("application", facts.application)
      .add_if("plan", facts.plan)
      .add_if("user", facts.user)
      .add_if("endpoint", facts.endpoint)
      .add_if("user_agent", facts.user_agent)
      .add("status", entry.ending.status);
  if (!facts.application.empty()) {
    line.add("key_type", key_type_name(facts.key_type));
  }
  if (facts.handshake_us != 0) {
    line.add("handshake_us", facts.handshake_us);
  }
  if (entry.event == AccessEntry::Event::kOpened) {
    return std::move(line).finish();
  }
  if (entry.ending.refusal_code) {
    line.add("code", *entry.ending.refusal_code);
  }
  if (entry.ending.close_code != 0) {
    line.add("close_code", static_cast<int>(entry.ending.close_code));
  }
  line.add_if("close_side", close_side_name(entry.ending.close_side))
      .add_if("reason", entry.ending.reason);
  const Event event = entry.event;
  if (event == Event::kClosed || event == Event::kRequest) {
    const Counts& c = entry.counts;
    line.add("duration_ms", to_ms(entry.time) - to_ms(facts.begin))
        .add("messages_up", c.messages_up)
        .add("messages_down", c.messages_down)
        .add("bytes_up", c.bytes_up)
        .add("bytes_down", c.bytes_down)
        .add("throttled_up", c.throttled_up)
        .add("throttled_down", c.throttled_down);
  }
  return std::move(line).finish();
}

AccessLog::AccessLog(std::string path, AccessFormat format, std::unique_ptr<LineWriter> writer)
    : path_(std::move(path)),
      format_(std::move(format)),
      writer_(std::move(writer)),
      inbox_(limits::kAccessLogQueueMax) {}

absl::StatusOr<std::unique_ptr<AccessLog>> AccessLog::open(std::string path,
                                                           std::string_view format) {
  SLUICE_ASSIGN_OR_RETURN(AccessFormat parsed, AccessFormat::parse(format));
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<LineWriter> writer, LineWriter::open(path));
  return std::unique_ptr<AccessLog>(
      new AccessLog(std::move(path), std::move(parsed), std::move(writer)));
}

void AccessLog::opened(const Facts& facts) {
  AccessEntry entry;
  entry.event = AccessEntry::Event::kOpened;
  entry.time = system_wall();
  entry.facts = facts;
  entry.ending.status = kSwitchingProtocols;
  write(std::move(entry));
}

void AccessLog::ended(const Facts& facts, const Ending& ending, const Counts& counts) {
  AccessEntry entry;
  const bool closed = ending.status == kSwitchingProtocols && !ending.refusal_code;
  entry.event = closed ? AccessEntry::Event::kClosed : AccessEntry::Event::kRefused;
  entry.time = system_wall();
  entry.facts = facts;
  entry.ending = ending;
  entry.counts = counts;
  write(std::move(entry));
}

void AccessLog::flush() {
  if (reopen_.exchange(false, std::memory_order_relaxed)) {
    absl::StatusOr<std::unique_ptr<LineWriter>> writer = LineWriter::open(path_);
    if (writer.ok()) {
      writer_ = *std::move(writer);
    } else {
      log::error("the access log stays where it was: {}", message_of(writer.status()));
    }
  }
  std::uint64_t dropped = inbox_.take_dropped();
  for (const AccessEntry& entry : inbox_.take_all()) {
    const std::string line = format_.line(entry);
    if (!writer_->add(line)) {
      (void)writer_->flush();
      dropped += writer_->add(line) ? 0 : 1;
    }
  }
  dropped_.fetch_add(dropped, std::memory_order_relaxed);
  untold_ += dropped;
  if (untold_ > 0) {
    (void)writer_->flush();
    untold_ = writer_->add(format_.dropped_line(system_wall(), untold_)) ? 0 : untold_;
  }
  if (const absl::Status status = writer_->flush(); !status.ok() && !failing_) {
    failing_ = true;
    log::error("the access log {}: {}", path_, message_of(status));
  } else if (status.ok()) {
    failing_ = false;
  }
}

}  // namespace sluice::telemetry
