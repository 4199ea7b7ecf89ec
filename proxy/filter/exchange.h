// One thing that a client asked for, as filters see it; and what the worker does for them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/rng.h"
#include "proxy/base/task.h"
#include "proxy/http/head.h"
#include "proxy/model/resources.h"
#include "proxy/telemetry/account.h"
#include "proxy/telemetry/record.h"
#include "proxy/websocket/frame.h"

namespace sluice::filter {

enum class Direction : std::uint8_t { kUp, kDown };  // client to backend, backend to client

// One data frame, told when its head is complete and before any of it is passed on. Control frames
// are not told.
struct DataUnit {
  Direction direction;
  websocket::Opcode opcode;  // of the message
  bool begins_message;       // a verdict holds for the whole message and is asked for here
  bool ends_message;
  std::uint64_t payload_bytes;  // of this frame, as sent
};

// What filters may ask of the worker. All on the worker's thread.
struct Services {
  Clock* clock = nullptr;
  Rng* rng = nullptr;

  // The token with this hash, asking the control plane for one not heard of. An Identity without a
  // token: there is none. UNAVAILABLE: it cannot be checked now. RESOURCE_EXHAUSTED: too many
  // unknown tokens from `client_address`.
  std::function<Task<absl::StatusOr<model::Identity>>(Sha256 hash, std::string client_address)>
      find_token;
  // What is known now, without asking. UNAVAILABLE: not known.
  std::function<absl::StatusOr<model::Identity>(const Sha256& hash)> known_token;
  // The plan of that name; null if there is none.
  std::function<std::shared_ptr<const model::Plan>(std::string_view name)> find_plan;
  // Hands a record to the sink. Never blocks; counted if it must be dropped.
  std::function<void(telemetry::Record record)> emit;
  // A slot for a live exchange; null if none is free. Then its record goes through emit.
  std::function<telemetry::Account*(const telemetry::Facts& facts)> open_account;
  // Ends it; the sink makes the final record from the slot. The account is not touched afterwards.
  std::function<void(telemetry::Account* account, const telemetry::Ending& ending)> close_account;
};

// How an exchange ended, for the close hook, the access log and the record.
using Ending = telemetry::Ending;

// Lives in the session's coroutine frame. What filters may change says so.
struct Exchange {
  std::string id;              // connection id, X-Request-Id
  std::string listener;        // its name
  std::string client_address;  // behind trusted hops: the client's
  bool tls = false;
  http::RequestHead request;  // auth takes credentials out
  std::shared_ptr<const model::Api> api;
  const model::ApiResource* resource = nullptr;  // of `api`; null: it has none
  std::string topic;     // the path below context and version, with its leading '/', or empty
  std::string query;     // without '?'; auth takes credentials out
  std::string endpoint;  // URL of the chosen one; set after open
  Wall begin{};
  std::uint64_t handshake_us = 0;

  // Set by auth.
  std::optional<model::Principal> principal;
  // Set by auth: what the 101 names if the backend picks no sub-protocol.
  std::string answer_subprotocol;
  // Set by filters that may drop messages: the handshake with the backend then asks for
  // no_context_takeover both ways.
  bool may_drop = false;

  // Null if no filter keeps accounts. Set by a filter in open or before the relay begins.
  telemetry::Account* account = nullptr;
  // What `account` points to where no slot was free: lost with the process.
  std::unique_ptr<telemetry::Account> spare_account;
  // True while permessage-deflate contexts are kept: drops become delays.
  bool contexts_kept = false;

  // What it depends on; the worker rechecks it when one of them changes. Filters add in open and
  // recheck.
  std::vector<model::Subject> subjects;
  // Rechecked at this time too (a token's expiry). Filters lower it in open, set it in recheck.
  Wall recheck_at = Wall::max();

  Ending ending;
  const Services* services = nullptr;

  void depends_on(model::Subject::Kind kind, std::string name) {
    subjects.push_back({kind, std::move(name)});
  }
};

}  // namespace sluice::filter
