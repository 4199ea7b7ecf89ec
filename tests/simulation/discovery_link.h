// One discovery stream with both its halves: connected, cut, and connected anew.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "proxy/sync/backoff.h"
#include "proxy/sync/config_client.h"
#include "proxy/sync/delta_server.h"
#include "tests/simulation/channel.h"
#include "tests/simulation/report.h"
#include "tests/simulation/world.h"

namespace sluice::simulation {

namespace xds = ::envoy::service::discovery::v3;

// The proxy's side of any stream: tries, backs off, tries again.
class Connector {
 public:
  Connector(Schedule& schedule, Chance& chance, std::function<bool()> connect)
      : schedule_(schedule),
        chance_(chance),
        backoff_(chance.rng()),
        connect_(std::move(connect)) {}

  void begin() { try_after(nanoseconds(0)); }
  void lost() { try_after(backoff_.next()); }
  void heard() { backoff_.reset(); }

 private:
  void try_after(nanoseconds delay);

  Schedule& schedule_;
  Chance& chance_;
  sync::Backoff backoff_;
  std::function<bool()> connect_;
};

class DiscoveryLink {
 public:
  // The client's half.
  struct Client {
    std::function<void(sync::SendDelta send, std::function<void()> read)> connected;
    std::function<void(xds::DeltaDiscoveryResponse)> response;
    std::function<void()> disconnected;
    std::function<void()> writable;
  };
  // What the checks are told.
  struct Watch {
    std::function<void(const xds::DeltaDiscoveryResponse&)> delivered;
    std::function<void(const xds::DeltaDiscoveryResponse&, const xds::DeltaDiscoveryRequest&)>
        answered;
  };
  // The world's two parties and what lies between them.
  struct Parts {
    Schedule& schedule;
    Chance& chance;
    World& world;
    Report& report;
    const bool& control_plane_up;
  };

  DiscoveryLink(std::string name, const Parts& parts, Client client, Watch watch);

  void begin() { connector_.begin(); }
  // What is under way is lost; the client connects anew.
  void cut();
  void changed(std::int64_t revision, std::span<const sync::ResourceChange> changes);

  bool connected() const { return server_ != nullptr; }
  Mono last_away() const { return last_away_; }
  // Connected, and all is told and answered.
  bool at_rest() const;

 private:
  using Response = std::shared_ptr<const xds::DeltaDiscoveryResponse>;

  bool connect();
  void on_request(const xds::DeltaDiscoveryRequest& request);
  void on_response(const Response& response);
  void send(xds::DeltaDiscoveryRequest request);
  void pump();

  std::string name_;
  Parts parts_;
  Client client_;
  Watch watch_;
  Connector connector_;
  Channel<xds::DeltaDiscoveryRequest> up_;
  Channel<Response> down_;
  std::unique_ptr<sync::DeltaServerStream> server_;  // null: no stream
  std::map<std::string, Response> unanswered_;       // delivered, by nonce
  Mono last_away_{};
};

}  // namespace sluice::simulation
