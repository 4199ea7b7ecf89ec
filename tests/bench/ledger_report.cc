#include "tests/bench/ledger_report.h"

#include <boost/json/array.hpp>

#include "tests/bench/mode.h"

namespace sluice::bench {
namespace {

void add_counts(const Ledger& ledger, boost::json::object& out) {
  out["sent"] = ledger.sent();
  out["received"] = ledger.in_order() + ledger.reordered();
  out["lost"] = ledger.lost();
  out["outstanding"] = ledger.outstanding();
  out["reordered"] = ledger.reordered();
  out["doubled"] = ledger.doubled();
  out["corrupt"] = ledger.corrupt();
}

void add_ending(const Connection& connection, boost::json::object& out) {
  const Ending& ending = connection.ending();
  out["status"] = ending.status;
  if (connection.was_open()) {
    out["opened_ms"] = to_mono_ms(connection.opened_at());
    out["close_code"] = ending.code;
    out["close_reason"] = ending.reason;
  } else {
    out["body"] = ending.body;
  }
  out["closed_by"] = ending.by_peer ? "peer" : "self";
  out["closed_ms"] = to_mono_ms(ending.at);
  if (!ending.error.empty()) {
    out["error"] = ending.error;
  }
}

}  // namespace

boost::json::object closed_event(const Connection& connection) {
  boost::json::object line{{"event", "closed"}, {"id", connection.id()}};
  add_ending(connection, line);
  return line;
}

void add_ledgers(Driver& driver, const std::vector<Ledger>& ledgers,
                 const std::vector<Notices>& notices, boost::json::object& out) {
  boost::json::array lines;
  std::uint64_t closed_by_peer = 0;
  std::uint64_t notices_sum = 0;
  boost::json::object sums;
  for (std::size_t i = 0; i < ledgers.size(); ++i) {
    boost::json::object line{{"id", i}};
    add_counts(ledgers[i], line);
    for (const auto& count : line) {
      const std::uint64_t value = count.value().to_number<std::uint64_t>();
      boost::json::value& sum = sums[count.key()];
      sum = value + (sum.is_uint64() ? sum.get_uint64() : 0);
    }
    line["notices"] = notices[i].count;
    notices_sum += notices[i].count;
    if (notices[i].count > 0) {
      line["notice"] = notices[i].last;
    }
    if (const Connection* connection = driver.at(i)) {
      add_ending(*connection, line);
      closed_by_peer += connection->was_open() && connection->ending().by_peer ? 1 : 0;
    }
    lines.push_back(std::move(line));
  }
  sums.erase("id");
  for (auto& sum : sums) {
    out[sum.key()] = sum.value();
  }
  out["notices"] = notices_sum;
  out["closed_by_peer"] = closed_by_peer;
  out["ledgers"] = std::move(lines);
}

}  // namespace sluice::bench
