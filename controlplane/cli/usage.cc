// What went through: sums, connections, and the stream of records.
#include <fmt/core.h>

#include <charconv>
#include <ctime>
#include <set>

#include "controlplane/cli/commands.h"
#include "controlplane/cli/run.h"

namespace sluice::controlplane::cli {
namespace {

constexpr nanoseconds kCloseTime = seconds(10);
constexpr nanoseconds kCloseCheck = milliseconds(100);

const std::vector<Column>& record_columns() {
  static const std::vector<Column> kColumns{
      {"TIME", "end"},
      {"CONNECTION", "connectionId"},
      {"PART", "part"},
      {"API", "api"},
      {"APPLICATION", "application"},
      {"CLIENT", "clientAddress"},
      {"STATUS", "status"},
      {"CODE", "code"},
      {"CLOSE", "closeCode"},
      {"UP", "messagesUp"},
      {"DOWN", "messagesDown"},
      {"REASON", "reason"},
  };
  return kColumns;
}

boost::json::array array_of(const boost::json::object& answer, const char* key) {
  const auto* found = answer.if_contains(key);
  return found != nullptr && found->is_array() ? found->get_array() : boost::json::array();
}

// An RFC 3339 time that lies `text` (30m, 24h, 7d) in the past, or `text` itself if it is one.
absl::StatusOr<std::string> since_of(const std::string& text) {
  if (text.size() >= 20 && text[10] == 'T') {
    return text;
  }
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(end, text.data() + text.size());
  const std::int64_t factor = unit == "m" ? 60 : unit == "h" ? 3600 : unit == "d" ? 86400 : 0;
  if (error != std::errc() || number <= 0 || factor == 0) {
    return invalid_argument(
        fmt::format("{}: must be 30m, 24h, 7d or a time as 2026-01-31T12:00:00Z", text));
  }
  const std::time_t then = std::time(nullptr) - static_cast<std::time_t>(number * factor);
  std::tm parts{};
  gmtime_r(&then, &parts);
  char buffer[32];
  std::strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return std::string(buffer);
}

absl::Status usage(Context& context, const std::string& name, const std::string& since) {
  SLUICE_ASSIGN_OR_RETURN(const std::string time, since_of(since));
  boost::json::array rows;
  // The word may name an API or an application: both are looked at.
  for (const char* field : {"api", "application"}) {
    boost::json::object request{{"since", time}};
    if (!name.empty()) {
      request[field] = name;
    }
    SLUICE_ASSIGN_OR_RETURN(const boost::json::object answer,
                            context.call("UsageService/GetUsage", request));
    for (const boost::json::value& row : array_of(answer, "usage")) {
      rows.push_back(row);
    }
    if (name.empty()) {
      break;
    }
  }
  context.print(show_rows(context.format(), rows,
                          {{"API", "api"},
                           {"APPLICATION", "application"},
                           {"KEY", "keyType"},
                           {"CONNECTIONS", "connections"},
                           {"REFUSED", "refused"},
                           {"MESSAGES UP", "messagesUp"},
                           {"MESSAGES DOWN", "messagesDown"},
                           {"BYTES UP", "bytesUp"},
                           {"BYTES DOWN", "bytesDown"},
                           {"THROTTLED", "throttled"}}));
  return absl::OkStatus();
}

struct Filter {
  bool refused = false;
  std::string id;
};

absl::Status list(Context& context, const Filter& filter) {
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object answer,
                          context.call("UsageService/ListConnections",
                                       {{"refused", filter.refused}, {"connectionId", filter.id}}));
  context.print(show_rows(context.format(), array_of(answer, "connections"),
                          {{"CONNECTION", "connectionId"},
                           {"LIVE", "live"},
                           {"PROXY", "proxy"},
                           {"API", "api"},
                           {"APPLICATION", "application"},
                           {"CLIENT", "clientAddress"},
                           {"SINCE", "begin"},
                           {"UP", "messagesUp"},
                           {"DOWN", "messagesDown"},
                           {"STATUS", "status"},
                           {"CODE", "code"},
                           {"CLOSE", "closeCode"},
                           {"REASON", "reason"}}));
  return absl::OkStatus();
}

// Tells the proxy, and waits for the connection's last record.
absl::Status close(Context& context, const std::string& id) {
  SLUICE_ASSIGN_OR_RETURN(Door * door, context.door());
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object told,
                          door->call("UsageService/CloseConnection", {{"connectionId", id}}));
  const std::string proxy = text_at(told, "proxy");
  const Mono deadline = door->loop().clock().now() + kCloseTime;
  while (door->loop().clock().now() < deadline) {
    SLUICE_ASSIGN_OR_RETURN(const boost::json::object answer,
                            door->call("UsageService/ListConnections", {{"connectionId", id}}));
    const boost::json::array rows = array_of(answer, "connections");
    if (!rows.empty() && text_at(rows[0], "live") != "yes") {
      context.print(fmt::format("connection {} on proxy {} has ended: {}\n", id, proxy,
                                text_at(rows[0], "reason")));
      return absl::OkStatus();
    }
    (void)run(door->loop(),
              sleep_until(door->loop().timers(), door->loop().clock().now() + kCloseCheck));
  }
  return unavailable(
      fmt::format("proxy {} was told, but has not reported the connection's end yet; see "
                  "`sluicectl connections list --id {}`",
                  proxy, id));
}

// Prints records as they come in, until interrupted: asks once a second for those of the last
// minute and shows what is new.
absl::Status tail(Context& context, const Filter& filter) {
  SLUICE_ASSIGN_OR_RETURN(Door * door, context.door());
  std::set<std::string> seen;
  bool first = true;
  while (true) {
    SLUICE_ASSIGN_OR_RETURN(const std::string since, since_of("1m"));
    SLUICE_ASSIGN_OR_RETURN(
        const boost::json::object answer,
        door->call("UsageService/ListRecords",
                   {{"pageSize", 1000}, {"connectionId", filter.id}, {"since", since}}));
    const boost::json::array records = array_of(answer, "records");
    std::set<std::string> now;
    for (auto record = records.rbegin(); record != records.rend(); ++record) {
      const std::string key = text_at(*record, "proxy") + "/" + text_at(*record, "epoch") + "/" +
                              text_at(*record, "sequence");
      now.insert(key);
      const bool wanted = !filter.refused || text_at(*record, "part") == "REFUSED";
      if (seen.contains(key) || !wanted) {
        continue;
      }
      std::string line;
      for (const Column& column : record_columns()) {
        const std::string text = text_at(*record, column.path);
        line += (text.empty() ? "-" : text) + "  ";
      }
      if (first) {
        std::string titles;
        for (const Column& column : record_columns()) {
          titles += std::string(column.title) + "  ";
        }
        context.print(titles + "\n");
        first = false;
      }
      context.print(context.format() == Format::kTable ? line + "\n"
                                                       : show_value(Format::kJson, *record));
    }
    seen = std::move(now);
    (void)run(door->loop(),
              sleep_until(door->loop().timers(), door->loop().clock().now() + seconds(1)));
  }
}

}  // namespace

void add_usage(CLI::App& app, Context& context) {
  struct Flags {
    std::string name;
    std::string since = "24h";
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* sums = app.add_subcommand("usage", "Messages and bytes by API and application");
  sums->add_option("NAME", flags->name, "an API or an application; default all");
  sums->add_option("--since", flags->since, "30m, 24h, 7d or a time")->capture_default_str();
  on_run(sums, context, [&context, flags] { return usage(context, flags->name, flags->since); });
  CLI::App* connections = app.add_subcommand("connections", "Live and past connections");
  connections->require_subcommand(1);
  for (const bool follow : {false, true}) {
    auto filter = std::make_shared<Filter>();
    CLI::App* command = connections->add_subcommand(
        follow ? "tail" : "list",
        follow ? "Records as they come in" : "As the proxies report them");
    command->add_flag("--refused", filter->refused, "refused handshakes");
    command->add_option("--id", filter->id, "one connection, by its id (X-Request-Id)");
    on_run(command, context, [&context, filter, follow] {
      return follow ? tail(context, *filter) : list(context, *filter);
    });
  }
  auto id = std::make_shared<std::string>();
  CLI::App* command = connections->add_subcommand(
      "close", "Close a live one: with 4006, or 1008 where the API says `standard`");
  command->add_option("ID", *id, "its id, as in `connections list`")->required();
  on_run(command, context, [&context, id] { return close(context, *id); });
}

}  // namespace sluice::controlplane::cli
