// What discovery knows: who is connected, what each may see, what has changed, who has it in force.
// Without gRPC. Everything on the discovery thread unless said otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "controlplane/discovery/ads_stream.h"
#include "controlplane/discovery/catalogue.h"
#include "controlplane/discovery/discovery_server.h"
#include "controlplane/discovery/event_thread.h"
#include "controlplane/discovery/identity_view.h"
#include "envoy/config/core/v3/base.pb.h"
#include "proxy/sync/resource.h"

namespace sluice::controlplane::discovery {

// What the transport knows of a stream's client.
struct Client {
  std::string address;          // as gRPC prints it
  std::string certificate_pem;  // verified; empty: none
};

class Hub {
 public:
  Hub(store::Store& store, pki::Proxies* proxies, DiscoveryOptions options, EventThread& thread);
  ~Hub();

  // Reads the store and follows its feed.
  absl::Status start();
  // Any thread but the discovery thread; nothing of the store is called any more after it.
  void stop_following();

  // ---- for streams
  struct Admission {
    sync::ResourceView view;
    std::int64_t revision = 0;
  };
  // With a stream's first request. UNAUTHENTICATED, PERMISSION_DENIED, ALREADY_EXISTS: the stream
  // must end; the message says what to do.
  absl::StatusOr<Admission> admit(AdsStream& stream, const Client& client,
                                  const envoy::config::core::v3::Node& node);
  // A later request told the node anew (its warnings).
  void on_node(AdsStream& stream, const envoy::config::core::v3::Node& node);
  // A request was taken.
  void on_progress(AdsStream& stream);
  // The stream has ended; it is not used any more.
  void on_gone(AdsStream& stream);

  // ---- for services
  admin::v1::RolloutStatus rollout(std::int64_t revision, const std::string& group);
  void wait(std::int64_t revision, std::string group, nanoseconds timeout,
            std::function<void(admin::v1::RolloutStatus)> answer);
  std::vector<admin::v1::Proxy> list_proxies(const std::string& group);
  void disconnect(const std::string& node_id);
  // Any thread.
  bool connected(const std::string& node_id) const;
  std::int64_t revision() const { return revision_.load(); }
  std::size_t sessions_connected() const;
  std::uint64_t feed_failures() const { return feed_failures_.load(); }

 private:
  struct Session {
    std::string node_id;
    std::string group;
    std::string instance;  // one process of the proxy; foreign clients: their connection
    std::string address;
    std::string software;
    std::vector<std::string> warnings;
    std::int64_t last_seen_ms = 0;
    std::int64_t acknowledged = 0;        // as last known
    std::vector<sync::Refusal> refusals;  // as last known
    std::map<AdsStream*, std::string> streams;  // with their names
    bool ours = false;                          // it names its streams

    bool connected() const { return !streams.empty(); }
  };
  struct Waiter {
    Waiter(Hub& owner, std::int64_t wanted, std::string of_group,
           std::function<void(admin::v1::RolloutStatus)> tell);
    Hub& hub;
    std::int64_t revision;
    std::string group;
    std::function<void(admin::v1::RolloutStatus)> answer;
    Timer timer;
  };
  struct Who {
    std::string node_id;
    std::string group;
  };

  absl::StatusOr<Who> identify(const Client& client,
                               const envoy::config::core::v3::Node& node) const;
  sync::ResourceView view_of(const std::string& group);
  Session* session_of(AdsStream& stream);
  void refresh(Session& session);
  admin::v1::ProxyRollout rollout_of(const Session& session, std::int64_t revision) const;
  void check_waiters(const std::string& group);
  void answer(std::list<Waiter>::iterator waiter);
  static void on_deadline(void* waiter);

  void follow();
  absl::Status follow_once(bool& more);
  absl::Status apply(const std::vector<store::Change>& changes);
  absl::Status reload();
  void pump_all();
  void fail_feed(const absl::Status& status);
  static void on_retry(void* hub);

  store::Store& store_;
  pki::Proxies* const proxies_;
  const DiscoveryOptions options_;
  EventThread& thread_;
  Catalogue catalogue_;
  IdentityView identities_;
  store::FeedHandle feed_;
  std::atomic<std::int64_t> revision_{0};
  std::atomic<bool> follow_posted_{false};
  std::atomic<std::uint64_t> feed_failures_{0};
  bool feed_failing_ = false;

  std::map<std::string, Session> sessions_;  // by node id; kept when it disconnects
  std::map<AdsStream*, Session*> streams_;
  std::list<Waiter> waiters_;
  Timer retry_timer_;

  mutable std::mutex mutex_;  // guards connected_
  std::set<std::string> connected_;
};

}  // namespace sluice::controlplane::discovery
