// Who may do what, as far as this proxy has heard: tokens by SHA-256 and applications with their
// subscriptions. Large and fast-changing; read at open and recheck, never per frame.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/encoding.h"
#include "proxy/base/limits.h"
#include "proxy/model/resources.h"

namespace sluice::config {

// Tokens and applications with their grants: a static file's, or the last known ones from disk.
struct Identities {
  std::vector<model::Token> tokens;
  std::vector<model::Grants> grants;
};

// Any thread; a mutex per shard. Writers other than pin() and unpin() are on one thread.
class Directory {
 public:
  // At most `tokens_max` tokens (those known to be absent count too), an even share in each of 64
  // shards; beyond it the least recently used one of the shard that is not pinned is forgotten.
  // Pinned ones always stay. SIZE_MAX: no bound (static files).
  explicit Directory(std::size_t tokens_max = limits::kTokensMax);
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  // What is known of the token. Nothing: not heard of it, or of its application. An Identity
  // without a token: there is none. Without grants: its application does not exist. Counts as use.
  std::optional<model::Identity> find(const Sha256& hash);
  // The token alone, whether or not its application is known; null in `optional`: known absent.
  std::optional<std::shared_ptr<const model::Token>> find_token(const Sha256& hash) const;
  std::optional<std::shared_ptr<const model::Grants>> find_grants(
      std::string_view application) const;

  // Each returns whether something that a live exchange may depend on changed (a first sight is a
  // change). The application of a pinned token counts as used although the token is absent.
  bool put_token(const model::Token& token);
  bool put_absent(const Sha256& hash);
  // Unless it is pinned. True: it is not there any more.
  bool forget_unpinned(const Sha256& hash);
  bool put_grants(std::shared_ptr<const model::Grants> grants);
  // The application does not exist.
  bool put_no_grants(std::string_view application);
  // Not heard of any more.
  bool forget_grants(std::string_view application);

  // Makes the whole content equal to `identities` (a static file was read again; a cold start).
  // Returns what changed.
  std::vector<model::Subject> assign(Identities identities);

  // A live exchange depends on the token: it is not forgotten before as many unpins. False if it is
  // not there.
  bool pin(const Sha256& hash);
  void unpin(const Sha256& hash);

  // What was forgotten for lack of room since the last call: the control thread unsubscribes.
  // `applications` have lost their last token; their grants stay until forget_grants.
  struct Evicted {
    std::vector<Sha256> tokens;
    std::vector<std::string> applications;
  };
  Evicted take_evicted();
  // Whether a token of the application is known.
  bool application_used(std::string_view application) const;

  struct Size {
    std::size_t tokens = 0;
    std::size_t absent = 0;  // of them
    std::size_t pinned = 0;  // of them
    std::size_t applications = 0;
    std::size_t token_bytes = 0;  // heap bytes of tokens and their index
  };
  Size size() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::config
