// The proxy's half of the identity stream, sans-I/O: tokens by hash and grants by application name,
// subscribed when first seen and for as long as the Directory keeps them. Apart from configuration,
// so that a large push never delays a login.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "proxy/base/clock.h"
#include "proxy/base/timer_wheel.h"
#include "proxy/config/directory.h"
#include "proxy/config/resource.h"
#include "proxy/sync/config_client.h"
#include "proxy/sync/unknown_limiter.h"

namespace sluice::sync {

struct Sha256Hash {
  std::size_t operator()(const Sha256& hash) const {
    std::size_t value = 0;
    __builtin_memcpy(&value, hash.data(), sizeof value);
    return value;
  }
};

// Control thread; must outlive what it hands to its environment's callables.
class IdentityClient {
 public:
  struct Environment {
    Clock& clock;
    TimerWheel& timers;
    config::Directory& directory;
    // Exchanges that depend on these are rechecked; `done`, once, when all have been.
    std::function<void(std::vector<model::Subject> changed, std::function<void()> done)> recheck;
    // As ConfigClient's. Null: nothing is saved.
    std::function<void(config::Delta delta, std::function<void(absl::Status)> done)> persist;
  };
  // An Identity without a token: there is none. UNAVAILABLE: it cannot be checked now.
  // RESOURCE_EXHAUSTED: too many unknown tokens from that address.
  using Answer = std::function<void(absl::StatusOr<model::Identity>)>;

  explicit IdentityClient(Environment environment);
  ~IdentityClient();

  // Puts what the disk had into the directory; before the first connection. What cannot be read is
  // left out (logged).
  void restore(const config::Delta& identities);

  // Answers from the directory, or asks. `answer` is called once, maybe before this returns.
  void lookup(const Sha256& hash, std::string_view client_address, Answer answer);

  // As ConfigClient's. The known names are subscribed anew in batches, one for each on_writable.
  void on_connected(const envoy::config::core::v3::Node& node, SendDelta send,
                    std::function<void()> read);
  void on_response(xds::DeltaDiscoveryResponse response);
  // All that was sent is written.
  void on_writable();
  // Lookups under way are answered UNAVAILABLE, unless a new stream follows at once: then they are
  // asked again there. Known tokens stay. What was known to be absent is forgotten, unless a live
  // exchange pins it: creations are not heard of any more.
  void on_disconnected(bool again_at_once = false);

  struct State {
    bool connected = false;
    std::uint64_t lookups = 0;       // that were asked of the control plane
    std::uint64_t found = 0;         // of them
    std::uint64_t unknown = 0;
    std::uint64_t timed_out = 0;
    std::uint64_t limited = 0;       // refused because of the address's unknown tokens
    std::uint64_t unavailable = 0;   // refused or cut off because the stream was away
    std::uint64_t responses = 0;
    std::uint64_t nacks = 0;
    std::uint64_t not_persisted = 0;
    std::string persist_error;
    std::size_t pending = 0;
    std::size_t tokens = 0;
    std::size_t applications = 0;
  };
  State state() const;

 private:
  enum class Held : std::uint8_t { kAsked, kPresent, kAbsent };
  struct Entry {
    Held held = Held::kAsked;
    std::string version;
  };
  struct Waiter {
    std::string address;
    Answer answer;
  };
  struct Lookup {
    Lookup(IdentityClient& client, const Sha256& hash);
    IdentityClient& client;
    Sha256 hash;
    Timer timer;
    std::vector<Waiter> waiters;
  };
  struct Commit {  // changes that are being rechecked and saved, and what is answered then
    std::map<config::ResourceKey, std::optional<config::Resource>> saves;  // none: removed
    std::vector<model::Subject> subjects;
    std::vector<xds::DeltaDiscoveryRequest> answers;
    std::uint64_t stream = 0;
    bool empty() const { return saves.empty() && subjects.empty() && answers.empty(); }
  };

  static void on_timeout(void* context);
  void ask_token(const Sha256& hash);
  void ask_grants(const std::string& application);
  void settle(const Sha256& hash, absl::StatusOr<model::Identity> answer);
  void settle_if_known(const Sha256& hash);
  void settle_application(const std::string& application);

  std::vector<Refusal> apply_tokens(const xds::DeltaDiscoveryResponse& response);
  std::vector<Refusal> apply_grants(const xds::DeltaDiscoveryResponse& response);
  absl::Status apply_token(const xds::Resource& resource);
  absl::Status apply_grant(const xds::Resource& resource);
  void apply_token_absent(const Sha256& hash);
  void apply_no_grants(const std::string& application);
  void apply_error(config::Kind kind, const xds::ResourceError& error);
  void drop_evicted();
  void send(xds::DeltaDiscoveryRequest request);
  void resubscribe_batch();
  void commit();
  void committed(const Commit& commit);

  Environment environment_;
  std::unordered_map<Sha256, Entry, Sha256Hash> tokens_;
  std::map<std::string, Entry, std::less<>> grants_;
  std::unordered_set<Sha256, Sha256Hash> absent_;
  std::unordered_map<Sha256, std::unique_ptr<Lookup>, Sha256Hash> lookups_;
  // Present tokens whose lookup waits for the application's grants.
  std::map<std::string, std::vector<Sha256>, std::less<>> waiting_for_grants_;
  UnknownLimiter limiter_;

  envoy::config::core::v3::Node node_;
  SendDelta send_;
  std::function<void()> read_;
  bool connected_ = false;
  bool node_sent_ = false;
  std::uint64_t stream_ = 0;
  std::deque<Sha256> resubscribe_tokens_;
  std::deque<std::string> resubscribe_grants_;
  Commit next_;
  bool committing_ = false;
  State state_;
};

}  // namespace sluice::sync
