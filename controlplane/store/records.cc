#include "controlplane/store/records.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

namespace sluice::controlplane::store {
namespace {

using telemetry::v1::Record;

constexpr std::int64_t kHourMs = 3'600'000;
constexpr std::int64_t kRollupsKeepMs = 400 * 24 * kHourMs;
// A live connection that nobody reported for so long is taken for ended.
constexpr std::int64_t kSilentConnectionMs = 7 * 24 * kHourMs;

enum State : std::int64_t { kLive = 0, kEnded = 1, kRefused = 2 };

State state_of(const Record& record) {
  switch (record.part()) {
    case Record::REFUSED:
      return kRefused;
    case Record::FINAL:
    case Record::RECOVERED:
      return kEnded;
    default:
      return kLive;
  }
}

std::int64_t ms_of(const google::protobuf::Timestamp& time) {
  return time.seconds() * 1000 + time.nanos() / 1'000'000;
}

// Writes one batch of one proxy.
class Intake {
 public:
  Intake(Database& database, const std::string& organisation, const std::string& proxy,
         std::int64_t now_ms)
      : database_(database), organisation_(organisation), proxy_(proxy), now_ms_(now_ms) {}

  absl::Status append(const Record& record);
  absl::Status save_heads();

 private:
  absl::StatusOr<RecordHead*> head(std::uint64_t epoch);
  absl::Status store(const Record& record);
  // Whether the connection was not known before.
  absl::StatusOr<bool> update_connection(const Record& record);
  absl::Status save_connection(const Record& record, State state);
  absl::Status roll_up(const Record& record, bool first);

  Database& database_;
  const std::string& organisation_;
  const std::string& proxy_;
  const std::int64_t now_ms_;
  std::map<std::uint64_t, RecordHead> heads_;
};

absl::StatusOr<RecordHead*> Intake::head(std::uint64_t epoch) {
  auto found = heads_.find(epoch);
  if (found == heads_.end()) {
    SLUICE_ASSIGN_OR_RETURN(RecordHead loaded,
                            record_head(database_, organisation_, proxy_, epoch));
    found = heads_.emplace(epoch, std::move(loaded)).first;
  }
  return &found->second;
}

absl::Status Intake::append(const Record& record) {
  SLUICE_ASSIGN_OR_RETURN(RecordHead * head, this->head(record.epoch()));
  if (record.sequence() <= head->sequence) {
    return absl::OkStatus();  // it has come before
  }
  head->sequence = record.sequence();
  head->dropped += record.dropped_before();
  SLUICE_RETURN_IF_ERROR(store(record));
  SLUICE_ASSIGN_OR_RETURN(const bool first, update_connection(record));
  return roll_up(record, first);
}

absl::Status Intake::save_heads() {
  for (const auto& [epoch, head] : heads_) {
    Statement statement = database_.prepare(
        "INSERT OR REPLACE INTO record_heads (organisation, proxy, epoch, sequence, dropped) "
        "VALUES (?, ?, ?, ?, ?)");
    SLUICE_RETURN_IF_ERROR(statement.bind_text(organisation_)
                               .bind_text(proxy_)
                               .bind_unsigned(epoch)
                               .bind_unsigned(head.sequence)
                               .bind_unsigned(head.dropped)
                               .run());
  }
  return absl::OkStatus();
}

absl::Status Intake::store(const Record& record) {
  const std::string bytes = record.SerializeAsString();
  Statement statement = database_.prepare(
      "INSERT INTO records (organisation, api, application, connection_id, end_ms, record) "
      "VALUES (?, ?, ?, ?, ?, ?)");
  return statement.bind_text(organisation_)
      .bind_text(record.api())
      .bind_text(record.application())
      .bind_text(record.connection_id())
      .bind(ms_of(record.end()))
      .bind_blob(bytes)
      .run();
}

absl::StatusOr<bool> Intake::update_connection(const Record& record) {
  if (record.connection_id().empty()) {
    return true;  // nothing to tell it by
  }
  Statement statement = database_.prepare(
      "SELECT state, record FROM connections WHERE organisation = ? AND connection_id = ?");
  SLUICE_ASSIGN_OR_RETURN(
      const bool known,
      statement.bind_text(organisation_).bind_text(record.connection_id()).step());
  State state = state_of(record);
  Record sum = record;
  if (known) {
    Record before;
    before.ParseFromString(statement.text(1));
    if (statement.integer(0) == kEnded && state == kLive) {
      state = kEnded;  // a successor closed the account already
      const std::string reason = before.reason();
      sum.set_close_code(before.close_code());
      sum.set_close_side(before.close_side());
      sum.set_reason(reason);
    }
    sum.set_messages_up(sum.messages_up() + before.messages_up());
    sum.set_messages_down(sum.messages_down() + before.messages_down());
    sum.set_bytes_up(sum.bytes_up() + before.bytes_up());
    sum.set_bytes_down(sum.bytes_down() + before.bytes_down());
    sum.set_throttled_up(sum.throttled_up() + before.throttled_up());
    sum.set_throttled_down(sum.throttled_down() + before.throttled_down());
  }
  SLUICE_RETURN_IF_ERROR(save_connection(sum, state));
  return !known;
}

absl::Status Intake::save_connection(const Record& record, State state) {
  const std::string bytes = record.SerializeAsString();
  Statement statement = database_.prepare(
      "INSERT INTO connections (organisation, connection_id, state, last_report_ms, record) "
      "VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (organisation, connection_id) DO UPDATE SET "
      "state = ?3, last_report_ms = ?4, record = ?5");
  return statement.bind_text(organisation_)
      .bind_text(record.connection_id())
      .bind(state)
      .bind(now_ms_)
      .bind_blob(bytes)
      .run();
}

absl::Status Intake::roll_up(const Record& record, bool first) {
  const std::int64_t at = record.has_end() ? ms_of(record.end()) : now_ms_;
  const bool refused = record.part() == Record::REFUSED;
  Statement statement = database_.prepare(
      "INSERT INTO rollups (organisation, hour_ms, api, application, key_type, connections, "
      "refused, "
      "messages_up, messages_down, bytes_up, bytes_down, throttled) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
      "ON CONFLICT (organisation, hour_ms, api, application, key_type) DO UPDATE SET "
      "connections = connections + excluded.connections, refused = refused + excluded.refused, "
      "messages_up = messages_up + excluded.messages_up, "
      "messages_down = messages_down + excluded.messages_down, "
      "bytes_up = bytes_up + excluded.bytes_up, bytes_down = bytes_down + excluded.bytes_down, "
      "throttled = throttled + excluded.throttled");
  return statement.bind_text(organisation_)
      .bind(at - at % kHourMs)
      .bind_text(record.api())
      .bind_text(record.application())
      .bind(record.key_type())
      .bind(first && !refused ? 1 : 0)
      .bind(refused ? 1 : 0)
      .bind_unsigned(record.messages_up())
      .bind_unsigned(record.messages_down())
      .bind_unsigned(record.bytes_up())
      .bind_unsigned(record.bytes_down())
      .bind_unsigned(record.throttled_up() + record.throttled_down())
      .run();
}

absl::Status connections_of_state(Database& database, const std::string& organisation, State state,
                                  std::size_t limit, std::vector<ConnectionState>& out) {
  Statement statement = database.prepare(
      "SELECT record, last_report_ms FROM connections WHERE organisation = ? AND state = ? "
      "ORDER BY last_report_ms DESC LIMIT ?");
  statement.bind_text(organisation).bind(state).bind(static_cast<std::int64_t>(limit));
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, statement.step());
    if (!more) {
      return absl::OkStatus();
    }
    ConnectionState& connection = out.emplace_back();
    connection.record.ParseFromString(statement.text(0));
    connection.last_report_ms = statement.integer(1);
    connection.live = state == kLive;
  }
}

}  // namespace

absl::Status append_records(Database& database, const std::string& organisation,
                            const std::string& proxy, const std::vector<Record>& records,
                            std::int64_t now_ms) {
  Intake intake(database, organisation, proxy, now_ms);
  for (const Record& record : records) {
    SLUICE_RETURN_IF_ERROR(intake.append(record));
  }
  return intake.save_heads();
}

absl::StatusOr<std::vector<RecordHead>> record_heads(Database& database,
                                                     const std::string& organisation) {
  Statement statement = database.prepare(
      "SELECT proxy, epoch, sequence, dropped FROM record_heads WHERE organisation = ? "
      "ORDER BY proxy, epoch");
  statement.bind_text(organisation);
  std::vector<RecordHead> heads;
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, statement.step());
    if (!more) {
      return heads;
    }
    heads.push_back({statement.text(0), statement.unsigned_integer(1),
                     statement.unsigned_integer(2), statement.unsigned_integer(3)});
  }
}

absl::StatusOr<RecordHead> record_head(Database& database, const std::string& organisation,
                                       const std::string& proxy, std::uint64_t epoch) {
  Statement statement = database.prepare(
      "SELECT sequence, dropped FROM record_heads "
      "WHERE organisation = ? AND proxy = ? AND epoch = ?");
  SLUICE_ASSIGN_OR_RETURN(
      const bool found,
      statement.bind_text(organisation).bind_text(proxy).bind_unsigned(epoch).step());
  RecordHead head{proxy, epoch, 0, 0};
  if (found) {
    head.sequence = statement.unsigned_integer(0);
    head.dropped = statement.unsigned_integer(1);
  }
  return head;
}

absl::StatusOr<RecordPage> list_records(Database& database, const std::string& organisation,
                                        const RecordFilter& filter) {
  // One statement for each index; the other conditions filter.
#define SLUICE_RECORDS_WHERE                                                          \
  "SELECT id, record FROM records WHERE organisation = ?1 AND (?2 = '' OR api = ?2) " \
  "AND (?3 = '' OR application = ?3) AND (?4 = '' OR connection_id = ?4) "            \
  "AND end_ms >= ?5 AND id < ?6 "
  const char* sql = SLUICE_RECORDS_WHERE "ORDER BY id DESC LIMIT ?7";
  if (!filter.connection_id.empty()) {
    sql = SLUICE_RECORDS_WHERE "AND connection_id = ?4 ORDER BY id DESC LIMIT ?7";
  } else if (!filter.application.empty()) {
    sql = SLUICE_RECORDS_WHERE "AND application = ?3 ORDER BY id DESC LIMIT ?7";
  } else if (!filter.api.empty()) {
    sql = SLUICE_RECORDS_WHERE "AND api = ?2 ORDER BY id DESC LIMIT ?7";
  }
#undef SLUICE_RECORDS_WHERE
  Statement statement = database.prepare(sql);
  statement.bind_text(organisation)
      .bind_text(filter.api)
      .bind_text(filter.application)
      .bind_text(filter.connection_id)
      .bind(filter.since_ms)
      .bind(filter.before_id == 0 ? std::numeric_limits<std::int64_t>::max() : filter.before_id)
      .bind(static_cast<std::int64_t>(filter.limit));
  RecordPage page;
  std::int64_t last = 0;
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, statement.step());
    if (!more) {
      break;
    }
    last = statement.integer(0);
    page.records.emplace_back().ParseFromString(statement.text(1));
  }
  page.next_before_id = page.records.size() < filter.limit ? 0 : last;
  return page;
}

absl::StatusOr<std::vector<UsageSum>> usage(Database& database, const std::string& organisation,
                                            const UsageSum& of, std::int64_t since_ms) {
  Statement statement = database.prepare(
      "SELECT api, application, key_type, sum(connections), sum(refused), sum(messages_up), "
      "sum(messages_down), sum(bytes_up), sum(bytes_down), sum(throttled) FROM rollups "
      "WHERE organisation = ?1 AND hour_ms >= ?2 AND (?3 = '' OR api = ?3) "
      "AND (?4 = '' OR application = ?4) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3");
  statement.bind_text(organisation)
      .bind(since_ms - since_ms % kHourMs)
      .bind_text(of.api)
      .bind_text(of.application);
  std::vector<UsageSum> sums;
  for (;;) {
    SLUICE_ASSIGN_OR_RETURN(const bool more, statement.step());
    if (!more) {
      return sums;
    }
    UsageSum& sum = sums.emplace_back();
    sum.api = statement.text(0);
    sum.application = statement.text(1);
    sum.key_type = static_cast<config::v1::KeyType>(statement.integer(2));
    sum.connections = statement.unsigned_integer(3);
    sum.refused = statement.unsigned_integer(4);
    sum.messages_up = statement.unsigned_integer(5);
    sum.messages_down = statement.unsigned_integer(6);
    sum.bytes_up = statement.unsigned_integer(7);
    sum.bytes_down = statement.unsigned_integer(8);
    sum.throttled = statement.unsigned_integer(9);
  }
}

absl::StatusOr<std::vector<ConnectionState>> connections(Database& database,
                                                         const std::string& organisation,
                                                         const ConnectionFilter& filter) {
  std::vector<ConnectionState> result;
  if (!filter.connection_id.empty()) {
    Statement statement = database.prepare(
        "SELECT record, last_report_ms, state FROM connections "
        "WHERE organisation = ? AND connection_id = ?");
    SLUICE_ASSIGN_OR_RETURN(
        const bool found, statement.bind_text(organisation).bind_text(filter.connection_id).step());
    if (found) {
      ConnectionState& connection = result.emplace_back();
      connection.record.ParseFromString(statement.text(0));
      connection.last_report_ms = statement.integer(1);
      connection.live = statement.integer(2) == kLive;
    }
    return result;
  }
  std::vector<State> states = {kLive};
  if (!filter.live_only || filter.refused) {
    states.push_back(kEnded);
  }
  if (filter.refused) {
    states.push_back(kRefused);
  }
  for (const State state : states) {
    SLUICE_RETURN_IF_ERROR(
        connections_of_state(database, organisation, state, filter.limit, result));
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const ConnectionState& a, const ConnectionState& b) {
                     return a.last_report_ms > b.last_report_ms;
                   });
  if (result.size() > filter.limit) {
    result.resize(filter.limit);
  }
  return result;
}

absl::Status collect_records(Database& database, std::size_t records_max, std::size_t batch) {
  Statement range =
      database.prepare("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM records");
  SLUICE_RETURN_IF_ERROR(range.step().status());
  const std::int64_t keep_from = range.integer(1) - static_cast<std::int64_t>(records_max) + 1;
  const std::int64_t drop_to =
      std::min(keep_from - 1, range.integer(0) + static_cast<std::int64_t>(batch) - 1);
  if (drop_to < range.integer(0)) {
    return absl::OkStatus();
  }
  Statement statement = database.prepare("DELETE FROM records WHERE id <= ?");
  return statement.bind(drop_to).run();
}

absl::Status collect_connections(Database& database, std::size_t max, std::int64_t now_ms) {
  Statement silent = database.prepare("DELETE FROM connections WHERE last_report_ms < ?");
  SLUICE_RETURN_IF_ERROR(silent.bind(now_ms - kSilentConnectionMs).run());
  Statement statement = database.prepare(
      "DELETE FROM connections WHERE id IN (SELECT id FROM connections WHERE state != 0 "
      "ORDER BY last_report_ms DESC LIMIT -1 OFFSET ?)");
  return statement.bind(static_cast<std::int64_t>(max)).run();
}

absl::Status collect_rollups(Database& database, std::int64_t now_ms) {
  Statement statement = database.prepare("DELETE FROM rollups WHERE hour_ms < ?");
  return statement.bind(now_ms - kRollupsKeepMs).run();
}

}  // namespace sluice::controlplane::store
