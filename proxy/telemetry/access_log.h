// The access log: a line for each handshake or request refused, connection opened, connection
// closed, and request answered by a back end.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/status.h"
#include "proxy/telemetry/access_format.h"
#include "proxy/telemetry/inbox.h"
#include "proxy/telemetry/line_writer.h"
#include "proxy/telemetry/record.h"

namespace sluice::telemetry {

struct AccessEntry {
  enum class Event : std::uint8_t { kRefused, kOpened, kClosed, kRequest };
  Event event = Event::kRefused;
  Wall time{};
  Facts facts;
  std::string method;
  std::string path;                  // without query
  std::string query;                 // access_token and apikey are redacted when it is written
  std::vector<std::string> request;  // as the log's format captured it
  Counts counts;                     // of kClosed and kRequest
  Ending ending;                     // its status alone for kOpened
};

// write(), opened() and ended() are for any thread and never block: a full queue drops the line,
// which is counted and told in the log itself. flush() and reopen() are for one thread.
class AccessLog {
 public:
  // `path`: a file to append to, or `-` for stdout.
  static absl::StatusOr<std::unique_ptr<AccessLog>> open(std::string path,
                                                         std::string_view format = "json");

  // What the format shows of a request, for AccessEntry::request. Any thread.
  std::vector<std::string> capture(const http::RequestHead& head) const {
    return format_.capture(head);
  }

  void write(AccessEntry entry) { inbox_.push(std::move(entry)); }
  void opened(const Facts& facts);
  // kClosed after a 101, else kRefused.
  void ended(const Facts& facts, const Ending& ending, const Counts& counts = {});

  // Writes out what came. A pipe that is full is not waited for. Call every 100 ms or so, and at
  // the end.
  void flush();
  // For log rotation: opens the path anew. May be asked for on any thread; the next flush does it.
  void reopen() { reopen_.store(true, std::memory_order_relaxed); }

  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  AccessLog(std::string path, AccessFormat format, std::unique_ptr<LineWriter> writer);

  const std::string path_;
  const AccessFormat format_;
  std::unique_ptr<LineWriter> writer_;
  Inbox<AccessEntry> inbox_;
  std::atomic<bool> reopen_{false};
  std::atomic<std::uint64_t> dropped_{0};
  std::uint64_t untold_ = 0;  // of dropped_, in the log itself
  bool failing_ = false;      // told once
};

// One line, with its newline.
std::string to_json_line(const AccessEntry& entry);

std::string_view event_name(AccessEntry::Event event);

// The query with the values of access_token and apikey, however spelt, replaced by `redacted`.
std::string redact_query(std::string_view query);

}  // namespace sluice::telemetry
