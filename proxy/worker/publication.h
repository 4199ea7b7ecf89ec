// What the control thread gives the workers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/config/directory.h"
#include "proxy/config/snapshot.h"
#include "proxy/model/resources.h"
#include "proxy/net/connect.h"
#include "proxy/telemetry/access_log.h"
#include "proxy/telemetry/account.h"
#include "proxy/telemetry/recorder.h"
#include "proxy/upstream/pool.h"

namespace sluice::worker {

// A snapshot and the subjects that differ from the one before.
struct Publication {
  std::shared_ptr<const config::Snapshot> snapshot;
  std::vector<model::Subject> changed;
};

// Where a listener is really bound.
struct Binding {
  std::string address;
  std::uint16_t port = 0;

  friend bool operator==(const Binding&, const Binding&) = default;
};
using Bindings = std::map<std::string, Binding, std::less<>>;

// What all workers share. Everything outlives them and may be called from any thread.
struct ProcessServices {
  net::Resolver* resolver = nullptr;
  // Set: makes connections to back ends in place of sockets (the simulation); then no resolver.
  upstream::Pool::Connect connect;
  upstream::StateTable* upstreams = nullptr;
  config::Directory* directory = nullptr;
  // Asks for a token that the directory does not know; `answer` comes on any thread, once.
  std::function<void(Sha256 hash, std::string client_address,
                     std::function<void(absl::StatusOr<model::Identity>)> answer)>
      ask_token;
  telemetry::AccountTable* accounts = nullptr;
  telemetry::Recorder* recorder = nullptr;
  telemetry::AccessLog* access_log = nullptr;  // null: none is kept
};

// One live connection, for people.
struct ConnectionInfo {
  std::string id;
  std::string listener;
  std::string api;
  std::string application;
  std::string client_address;
  std::string endpoint;
  Wall begin{};
  telemetry::Counts counts;
  int worker = 0;
};

}  // namespace sluice::worker
