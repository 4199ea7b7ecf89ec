// The ledger mode's report: what became of each connection and its messages.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "tests/bench/driver.h"
#include "tests/bench/ledger.h"

namespace sluice::bench {

// Text messages that a connection got.
struct Notices {
  std::uint64_t count = 0;
  std::string last;
};

boost::json::object closed_event(const Connection& connection);

// Adds `ledgers`, one object a connection, and their sums to the report.
void add_ledgers(Driver& driver, const std::vector<Ledger>& ledgers,
                 const std::vector<Notices>& notices, boost::json::object& out);

}  // namespace sluice::bench
