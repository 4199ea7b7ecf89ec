// What happened, as the data path says it: plain data, moved through queues to the sink. The wire
// form is sluice.telemetry.v1.Record.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proxy/base/clock.h"
#include "proxy/model/resources.h"

namespace sluice::telemetry {

// Who began a close.
enum class CloseSide : std::uint8_t { kNone, kClient, kBackend, kProxy };

// How an exchange ended.
struct Ending {
  int status = 0;                   // HTTP status that the client got; 0: it left before one
  std::optional<int> refusal_code;  // code of our refusal's JSON body
  std::uint16_t close_code = 0;     // first close code sent or seen, 0: none
  CloseSide close_side = CloseSide::kNone;
  std::string reason;
};

// Who and what an exchange is. Written into the account's slot when it opens, so that a successor
// can tell it after kill -9; each text is cut to what the slot holds.
struct Facts {
  std::string connection_id;
  std::string listener;
  std::string api;
  std::string api_version;
  std::string application;
  std::string plan;
  std::string user;
  model::KeyType key_type = model::KeyType::kProduction;
  std::string client_address;
  std::string user_agent;
  std::string topic;
  std::string endpoint;
  std::string token_id;  // the first 16 hex digits of the token's SHA-256; empty: no token
  Wall begin{};
  std::uint64_t handshake_us = 0;
};

// The counters of a live exchange; also the difference of two of them.
struct Counts {
  std::uint64_t messages_up = 0;
  std::uint64_t messages_down = 0;
  std::uint64_t bytes_up = 0;
  std::uint64_t bytes_down = 0;
  std::uint64_t throttled_up = 0;
  std::uint64_t throttled_down = 0;

  friend bool operator==(const Counts&, const Counts&) = default;
};

enum class Part : std::uint8_t { kInterim, kFinal, kRecovered, kRefused };

struct Record {
  Part part = Part::kFinal;
  Facts facts;
  Counts counts;  // since the exchange's previous part
  Wall end{};
  int status = 0;  // HTTP status of the handshake's answer
  int code = 0;    // refusals: code of the JSON body
  int close_code = 0;
  CloseSide close_side = CloseSide::kNone;
  std::string reason;
};

}  // namespace sluice::telemetry
