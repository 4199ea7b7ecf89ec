#include "tests/simulation/record_check.h"

#include <fmt/format.h>

#include <map>
#include <set>
#include <string>
#include <utility>

namespace sluice::simulation {
namespace {

constexpr std::string_view kExact = "records equal what passed, once each";

struct Sum {
  int finals = 0;
  std::uint64_t messages_up = 0;
  std::uint64_t messages_down = 0;
  std::uint64_t bytes_up = 0;
  std::uint64_t bytes_down = 0;
};

// What passed towards an end that was lost may not have arrived: at least what was seen, at most
// what was sent.
bool fits(std::uint64_t counted, std::uint64_t seen, std::uint64_t most, bool exact) {
  return exact ? counted == seen : counted >= seen && counted <= most;
}

void check_talk(const Talk& talk, const Sum& sum, bool final_missing, Report& report) {
  const bool up_exact = !talk.backend_lost && !final_missing;
  const bool down_exact = !talk.client_vanished && !final_missing;
  const std::uint64_t least_up = final_missing ? 0 : talk.up.messages;
  const std::uint64_t least_down = final_missing ? 0 : talk.down.messages;
  const bool good =
      fits(sum.messages_up, up_exact ? talk.up.messages : least_up, talk.up.sent, up_exact) &&
      fits(sum.messages_down, down_exact ? talk.down.messages : least_down, talk.down.sent,
           down_exact) &&
      (!up_exact || sum.bytes_up == talk.up.bytes) &&
      (!down_exact || sum.bytes_down == talk.down.bytes);
  if (!good) {
    report.broken(kExact,
                  fmt::format("connection {} ({}): recorded {}+{} messages and {}+{} bytes; passed "
                              "{}+{} and {}+{} of {}+{} sent{}{}",
                              talk.index, talk.id, sum.messages_up, sum.messages_down, sum.bytes_up,
                              sum.bytes_down, talk.up.messages, talk.down.messages, talk.up.bytes,
                              talk.down.bytes, talk.up.sent, talk.down.sent,
                              talk.backend_lost ? ", backend lost" : "",
                              talk.client_vanished ? ", client vanished" : ""));
  }
}

std::map<std::string, Sum> add_up(const std::vector<WireRecord>& records, Report& report) {
  std::map<std::string, Sum> sums;
  std::set<std::pair<std::uint64_t, std::uint64_t>> numbers;
  for (const WireRecord& record : records) {
    if (!numbers.insert({record.epoch(), record.sequence()}).second) {
      report.broken(kExact, fmt::format("record {} is stored twice", record.sequence()));
    }
    if (record.part() == WireRecord::REFUSED) {
      continue;
    }
    Sum& sum = sums[record.connection_id()];
    sum.finals += record.part() == WireRecord::FINAL ? 1 : 0;
    sum.messages_up += record.messages_up();
    sum.messages_down += record.messages_down();
    sum.bytes_up += record.bytes_up();
    sum.bytes_down += record.bytes_down();
  }
  return sums;
}

}  // namespace

void check_records(const std::vector<WireRecord>& records, const Talks& talks,
                   std::uint64_t dropped, Report& report) {
  std::map<std::string, Sum> sums = add_up(records, report);
  std::uint64_t missing = 0;
  for (const auto& talk : talks) {
    if (talk->id.empty()) {
      continue;
    }
    const auto node = sums.extract(talk->id);
    const Sum sum = node.empty() ? Sum() : node.mapped();
    // A client that left during the handshake may have been accepted without knowing it.
    const bool final_missing = talk->accepted && sum.finals == 0;
    missing += final_missing ? 1 : 0;
    if (sum.finals > 1) {
      report.broken(kExact, fmt::format("connection {} ({}) has {} final records", talk->index,
                                        talk->id, sum.finals));
    }
    if (talk->accepted || sum.finals > 0) {
      check_talk(*talk, sum, final_missing, report);
    }
  }
  if (missing > dropped) {
    report.broken(
        kExact, fmt::format("{} connections have no final record, {} records were dropped", missing,
                            dropped));
  }
  if (!sums.empty()) {
    report.broken(kExact, fmt::format("connection {} was never opened", sums.begin()->first));
  }
}

}  // namespace sluice::simulation
