#include "proxy/config/directory.h"

#include <algorithm>
#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <set>

#include "proxy/base/check.h"
#include "proxy/base/rng.h"
#include "proxy/config/sharded_map.h"

namespace sluice::config {
namespace {

constexpr std::size_t kTokenShards = 64;
constexpr std::size_t kApplicationShards = 16;
constexpr std::size_t kChunkEntries = 64;
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

// What tokens of an application have in common, and few have at all: shared by all that say the
// same, guarded by the shard of its application but for `tokens` and the constant parts.
struct Application {
  std::string name;
  std::shared_ptr<const model::Grants> grants;
  bool heard = false;        // grants (null: there is no such application) are known
  std::uint64_t tokens = 0;  // that belong to it
};

struct Details {
  std::vector<std::string> scopes;
  std::string credential;
  std::string user;

  friend auto operator<=>(const Details&, const Details&) = default;
};

struct Entry {
  enum Flags : std::uint8_t { kAbsent = 1, kRevoked = 2, kSandbox = 4 };

  Sha256 hash{};
  std::int64_t expires_ns = 0;         // of Wall
  Application* application = nullptr;  // null: absent
  const Details* details = nullptr;    // null: none
  // In the list of unpinned entries, the least recently used first; free entries by `next`.
  std::uint32_t previous = kNone;
  std::uint32_t next = kNone;
  std::uint32_t pins = 0;
  std::uint8_t flags = 0;
};
static_assert(sizeof(Entry) <= 72);

// Entries stay where they are: a growing vector would hold them twice while it grows.
class Entries {
 public:
  Entry& operator[](std::uint32_t index) const {
    return chunks_[index / kChunkEntries][index % kChunkEntries];
  }

  std::uint32_t take() {
    if (free_ == kNone) {
      const auto begin = static_cast<std::uint32_t>(chunks_.size() * kChunkEntries);
      chunks_.push_back(std::make_unique<Entry[]>(kChunkEntries));
      for (std::uint32_t i = kChunkEntries; i-- > 0;) {
        chunks_.back()[i].next = free_;
        free_ = begin + i;
      }
    }
    const std::uint32_t index = free_;
    free_ = (*this)[index].next;
    (*this)[index] = Entry{};
    return index;
  }

  void give_back(std::uint32_t index) {
    (*this)[index] = Entry{};
    (*this)[index].next = free_;
    free_ = index;
  }

  std::size_t bytes() const {
    return chunks_.size() * kChunkEntries * sizeof(Entry) + chunks_.capacity() * sizeof(void*);
  }

 private:
  std::vector<std::unique_ptr<Entry[]>> chunks_;
  std::uint32_t free_ = kNone;
};

std::uint64_t prefix_of(const Sha256& hash, std::size_t at) {
  std::uint64_t value;
  std::memcpy(&value, hash.data() + at, sizeof value);
  return value;
}

// Keyed: whoever sends made-up tokens chooses their hashes.
struct HashOf {
  using is_transparent = void;
  using is_avalanching = void;
  const Entries* entries;
  std::uint64_t seed;

  std::size_t operator()(const Sha256& hash) const {
    std::uint64_t mixed = (prefix_of(hash, 8) ^ seed) * 0x9e3779b97f4a7c15ULL;
    mixed ^= mixed >> 32;
    return (mixed ^ prefix_of(hash, 16)) * 0xbf58476d1ce4e5b9ULL;
  }
  std::size_t operator()(std::uint32_t index) const { return (*this)((*entries)[index].hash); }
};

struct SameHash {
  using is_transparent = void;
  const Entries* entries;

  bool operator()(std::uint32_t a, std::uint32_t b) const { return a == b; }
  bool operator()(const Sha256& a, std::uint32_t b) const { return a == (*entries)[b].hash; }
  bool operator()(std::uint32_t a, const Sha256& b) const { return (*this)(b, a); }
};

struct TokenShard {
  explicit TokenShard(std::uint64_t seed) : index(0, HashOf{&entries, seed}, SameHash{&entries}) {}

  mutable std::mutex mutex;
  Entries entries;
  boost::unordered_flat_set<std::uint32_t, HashOf, SameHash> index;
  std::uint32_t oldest = kNone;
  std::uint32_t newest = kNone;
  std::size_t absent = 0;
  std::size_t pinned = 0;
  std::vector<Sha256> evicted;

  std::uint32_t find(const Sha256& hash) const {
    const auto it = index.find(hash);
    return it == index.end() ? kNone : *it;
  }

  void link(std::uint32_t at) {
    Entry& entry = entries[at];
    entry.previous = newest;
    entry.next = kNone;
    (newest == kNone ? oldest : entries[newest].next) = at;
    newest = at;
  }

  void unlink(std::uint32_t at) {
    Entry& entry = entries[at];
    (entry.previous == kNone ? oldest : entries[entry.previous].next) = entry.next;
    (entry.next == kNone ? newest : entries[entry.next].previous) = entry.previous;
  }

  void use(std::uint32_t at) {
    if (entries[at].pins == 0 && newest != at) {
      unlink(at);
      link(at);
    }
  }
};

struct ApplicationShard {
  mutable std::mutex mutex;
  boost::unordered_flat_map<std::string_view, std::unique_ptr<Application>, NameHash> by_name;
  std::vector<std::string> evicted;
};

bool same(const model::Subscription& a, const model::Subscription& b) {
  return a.application == b.application && a.api == b.api && a.plan == b.plan &&
         a.status == b.status;
}

bool same(const model::Grants* a, const model::Grants* b) {
  if (a == nullptr || b == nullptr) {
    return a == b;
  }
  const model::Application& x = a->application;
  const model::Application& y = b->application;
  return x.name == y.name && x.plan == y.plan && x.owner == y.owner && x.status == y.status &&
         std::equal(a->subscriptions.begin(), a->subscriptions.end(), b->subscriptions.begin(),
                    b->subscriptions.end(),
                    [](const auto& s, const auto& t) { return same(s, t); });
}

}  // namespace

// Locks are taken in this order: a token shard, then an application shard or the details.
struct Directory::Impl {
  explicit Impl(std::size_t tokens_max)
      // A shard's share, with room for chance: hashes do not spread quite evenly.
      : shard_tokens_max(tokens_max == std::numeric_limits<std::size_t>::max()
                             ? tokens_max
                             : std::max<std::size_t>(1, tokens_max / kTokenShards)) {
    const std::uint64_t seed = system_seed();
    for (auto& shard : tokens) {
      shard = std::make_unique<TokenShard>(seed);
    }
  }

  TokenShard& shard_of(const Sha256& hash) const { return *tokens[hash[0] % kTokenShards]; }
  ApplicationShard& shard_of(std::string_view application) {
    return applications[NameHash{}(application) % kApplicationShards];
  }

  Application* acquire(std::string_view name);
  void release(Application* application);
  Application& slot(ApplicationShard& shard, std::string_view name);
  const Details* acquire_details(Details details);
  void release_details(const Details* details);

  bool put(const model::Token* token, const Sha256& hash);
  void drop(TokenShard& shard, std::uint32_t at);
  void shrink(TokenShard& shard, std::uint32_t keep = kNone);
  std::shared_ptr<const model::Token> token_at(const TokenShard& shard, std::uint32_t at) const;
  bool put_grants(std::string_view name, std::shared_ptr<const model::Grants> grants);

  const std::size_t shard_tokens_max;
  std::array<std::unique_ptr<TokenShard>, kTokenShards> tokens;
  std::array<ApplicationShard, kApplicationShards> applications;
  std::mutex details_mutex;
  std::map<Details, std::size_t> details;  // with how many tokens have them
};

Application& Directory::Impl::slot(ApplicationShard& shard, std::string_view name) {
  const auto it = shard.by_name.find(name);
  if (it != shard.by_name.end()) {
    return *it->second;
  }
  auto made = std::make_unique<Application>();
  made->name = std::string(name);
  const std::string_view key = made->name;
  return *shard.by_name.emplace(key, std::move(made)).first->second;
}

Application* Directory::Impl::acquire(std::string_view name) {
  ApplicationShard& shard = shard_of(name);
  const std::lock_guard lock(shard.mutex);
  Application& application = slot(shard, name);
  ++application.tokens;
  return &application;
}

void Directory::Impl::release(Application* application) {
  if (application == nullptr) {
    return;
  }
  ApplicationShard& shard = shard_of(application->name);
  const std::lock_guard lock(shard.mutex);
  if (--application->tokens > 0) {
    return;
  }
  shard.evicted.push_back(application->name);
  if (!application->heard) {
    shard.by_name.erase(std::string_view(application->name));
  }
}

const Details* Directory::Impl::acquire_details(Details wanted) {
  if (wanted == Details{}) {
    return nullptr;
  }
  const std::lock_guard lock(details_mutex);
  const auto it = details.try_emplace(std::move(wanted), 0).first;
  ++it->second;
  return &it->first;
}

void Directory::Impl::release_details(const Details* known) {
  if (known == nullptr) {
    return;
  }
  const std::lock_guard lock(details_mutex);
  const auto it = details.find(*known);
  if (--it->second == 0) {
    details.erase(it);
  }
}

// `token` null: known absent.
bool Directory::Impl::put(const model::Token* token, const Sha256& hash) {
  Entry fresh;
  fresh.hash = hash;
  fresh.flags = token == nullptr ? Entry::kAbsent : 0;
  if (token != nullptr) {
    fresh.expires_ns = token->expires.time_since_epoch().count();
    fresh.application = acquire(token->application);
    fresh.details = acquire_details({token->scopes, token->credential, token->user});
    fresh.flags = static_cast<std::uint8_t>(
        (token->revoked ? Entry::kRevoked : 0) |
        (token->key_type == model::KeyType::kSandbox ? Entry::kSandbox : 0));
  }
  TokenShard& shard = shard_of(hash);
  const std::lock_guard lock(shard.mutex);
  std::uint32_t at = shard.find(hash);
  bool changed = at == kNone;
  if (at == kNone) {
    at = shard.entries.take();
    shard.entries[at].hash = hash;
    shard.index.insert(at);
    shard.link(at);
  } else {
    shard.use(at);
  }
  Entry& entry = shard.entries[at];
  changed = changed || entry.flags != fresh.flags || entry.expires_ns != fresh.expires_ns ||
            (token != nullptr && entry.application != fresh.application) ||
            entry.details != fresh.details;
  shard.absent -= (entry.flags & Entry::kAbsent) != 0 ? 1 : 0;
  shard.absent += (fresh.flags & Entry::kAbsent) != 0 ? 1 : 0;
  if (token != nullptr || entry.pins == 0) {  // what a live exchange depends on stays known
    std::swap(entry.application, fresh.application);
  }
  std::swap(entry.details, fresh.details);
  entry.flags = fresh.flags;
  entry.expires_ns = fresh.expires_ns;
  release(fresh.application);
  release_details(fresh.details);
  shrink(shard, at);
  return changed;
}

void Directory::Impl::drop(TokenShard& shard, std::uint32_t at) {
  Entry& entry = shard.entries[at];
  if (entry.pins == 0) {
    shard.unlink(at);
  } else {
    --shard.pinned;
  }
  shard.absent -= (entry.flags & Entry::kAbsent) != 0 ? 1 : 0;
  shard.index.erase(at);
  release(entry.application);
  release_details(entry.details);
  shard.entries.give_back(at);
}

// Never forgets `keep`, which was just heard of: it may be all that is not pinned.
void Directory::Impl::shrink(TokenShard& shard, std::uint32_t keep) {
  while (shard.index.size() > shard_tokens_max && shard.oldest != kNone && shard.oldest != keep) {
    shard.evicted.push_back(shard.entries[shard.oldest].hash);
    drop(shard, shard.oldest);
  }
}

std::shared_ptr<const model::Token> Directory::Impl::token_at(const TokenShard& shard,
                                                              std::uint32_t at) const {
  const Entry& entry = shard.entries[at];
  if ((entry.flags & Entry::kAbsent) != 0) {
    return nullptr;
  }
  auto token = std::make_shared<model::Token>();
  token->hash = entry.hash;
  token->application = entry.application->name;
  token->expires = Wall(nanoseconds(entry.expires_ns));
  token->revoked = (entry.flags & Entry::kRevoked) != 0;
  token->key_type =
      (entry.flags & Entry::kSandbox) != 0 ? model::KeyType::kSandbox : model::KeyType::kProduction;
  if (entry.details != nullptr) {
    token->scopes = entry.details->scopes;
    token->credential = entry.details->credential;
    token->user = entry.details->user;
  }
  return token;
}

bool Directory::Impl::put_grants(std::string_view name,
                                 std::shared_ptr<const model::Grants> grants) {
  ApplicationShard& shard = shard_of(name);
  const std::lock_guard lock(shard.mutex);
  Application& application = slot(shard, name);
  const bool changed = !application.heard || !same(application.grants.get(), grants.get());
  application.heard = true;
  application.grants = std::move(grants);
  return changed;
}

Directory::Directory(std::size_t tokens_max) : impl_(std::make_unique<Impl>(tokens_max)) {}
Directory::~Directory() = default;

std::optional<model::Identity> Directory::find(const Sha256& hash) {
  TokenShard& shard = impl_->shard_of(hash);
  const std::lock_guard lock(shard.mutex);
  const std::uint32_t at = shard.find(hash);
  if (at == kNone) {
    return std::nullopt;
  }
  shard.use(at);
  model::Identity identity;
  const Application* application = shard.entries[at].application;
  if (application != nullptr && (shard.entries[at].flags & Entry::kAbsent) == 0) {
    const std::lock_guard grants_lock(impl_->shard_of(application->name).mutex);
    if (!application->heard) {
      return std::nullopt;
    }
    identity.grants = application->grants;
  }
  identity.token = impl_->token_at(shard, at);
  return identity;
}

std::optional<std::shared_ptr<const model::Token>> Directory::find_token(const Sha256& hash) const {
  const TokenShard& shard = impl_->shard_of(hash);
  const std::lock_guard lock(shard.mutex);
  const std::uint32_t at = shard.find(hash);
  if (at == kNone) {
    return std::nullopt;
  }
  return impl_->token_at(shard, at);
}

std::optional<std::shared_ptr<const model::Grants>> Directory::find_grants(
    std::string_view application) const {
  ApplicationShard& shard = impl_->shard_of(application);
  const std::lock_guard lock(shard.mutex);
  const auto it = shard.by_name.find(application);
  if (it == shard.by_name.end() || !it->second->heard) {
    return std::nullopt;
  }
  return it->second->grants;
}

bool Directory::put_token(const model::Token& token) { return impl_->put(&token, token.hash); }

bool Directory::put_absent(const Sha256& hash) { return impl_->put(nullptr, hash); }

bool Directory::forget_unpinned(const Sha256& hash) {
  TokenShard& shard = impl_->shard_of(hash);
  const std::lock_guard lock(shard.mutex);
  const std::uint32_t at = shard.find(hash);
  if (at == kNone) {
    return true;
  }
  if (shard.entries[at].pins > 0) {
    return false;
  }
  impl_->drop(shard, at);
  return true;
}

bool Directory::put_grants(std::shared_ptr<const model::Grants> grants) {
  SLUICE_CHECK(grants != nullptr);
  const std::string& name = grants->application.name;
  return impl_->put_grants(name, grants);
}

bool Directory::put_no_grants(std::string_view application) {
  return impl_->put_grants(application, nullptr);
}

bool Directory::forget_grants(std::string_view name) {
  ApplicationShard& shard = impl_->shard_of(name);
  const std::lock_guard lock(shard.mutex);
  const auto it = shard.by_name.find(name);
  if (it == shard.by_name.end() || !it->second->heard) {
    return false;
  }
  it->second->heard = false;
  it->second->grants = nullptr;
  if (it->second->tokens == 0) {
    shard.by_name.erase(it);
  }
  return true;
}

std::vector<model::Subject> Directory::assign(Identities identities) {
  using Kind = model::Subject::Kind;
  std::vector<model::Subject> changed;
  std::set<Sha256> tokens;
  std::set<std::string, std::less<>> applications;
  for (model::Grants& grants : identities.grants) {
    const std::string name = grants.application.name;
    applications.insert(name);
    if (put_grants(std::make_shared<const model::Grants>(std::move(grants)))) {
      changed.push_back({Kind::kApplication, name});
    }
  }
  for (const model::Token& token : identities.tokens) {
    tokens.insert(token.hash);
    if (put_token(token)) {
      changed.push_back({Kind::kToken, hex(token.hash)});
    }
  }
  for (const std::unique_ptr<TokenShard>& shard : impl_->tokens) {
    const std::lock_guard lock(shard->mutex);
    std::vector<std::uint32_t> gone;
    for (const std::uint32_t at : shard->index) {
      if (tokens.count(shard->entries[at].hash) == 0) {
        gone.push_back(at);
      }
    }
    for (const std::uint32_t at : gone) {
      changed.push_back({Kind::kToken, hex(shard->entries[at].hash)});
      impl_->drop(*shard, at);
    }
  }
  for (ApplicationShard& shard : impl_->applications) {
    const std::lock_guard lock(shard.mutex);
    boost::unordered::erase_if(shard.by_name, [&](const auto& item) {
      Application& application = *item.second;
      if (!application.heard || applications.count(application.name) > 0) {
        return false;
      }
      changed.push_back({Kind::kApplication, application.name});
      application.heard = false;
      application.grants = nullptr;
      return application.tokens == 0;
    });
  }
  std::sort(changed.begin(), changed.end());
  return changed;
}

bool Directory::pin(const Sha256& hash) {
  TokenShard& shard = impl_->shard_of(hash);
  const std::lock_guard lock(shard.mutex);
  const std::uint32_t at = shard.find(hash);
  if (at == kNone) {
    return false;
  }
  if (shard.entries[at].pins++ == 0) {
    shard.unlink(at);
    ++shard.pinned;
  }
  return true;
}

void Directory::unpin(const Sha256& hash) {
  TokenShard& shard = impl_->shard_of(hash);
  const std::lock_guard lock(shard.mutex);
  const std::uint32_t at = shard.find(hash);
  // It may have been forgotten on purpose, and heard of anew, meanwhile.
  if (at == kNone || shard.entries[at].pins == 0) {
    return;
  }
  Entry& entry = shard.entries[at];
  if (--entry.pins == 0) {
    shard.link(at);
    --shard.pinned;
    if ((entry.flags & Entry::kAbsent) != 0) {
      impl_->release(std::exchange(entry.application, nullptr));
    }
    impl_->shrink(shard);
  }
}

Directory::Evicted Directory::take_evicted() {
  Evicted evicted;
  for (const std::unique_ptr<TokenShard>& shard : impl_->tokens) {
    const std::lock_guard lock(shard->mutex);
    evicted.tokens.insert(evicted.tokens.end(), shard->evicted.begin(), shard->evicted.end());
    shard->evicted.clear();
  }
  for (ApplicationShard& shard : impl_->applications) {
    const std::lock_guard lock(shard.mutex);
    for (std::string& name : shard.evicted) {
      const auto it = shard.by_name.find(name);
      if (it == shard.by_name.end() || it->second->tokens == 0) {
        evicted.applications.push_back(std::move(name));
      }
    }
    shard.evicted.clear();
  }
  std::sort(evicted.applications.begin(), evicted.applications.end());
  evicted.applications.erase(std::unique(evicted.applications.begin(), evicted.applications.end()),
                             evicted.applications.end());
  return evicted;
}

bool Directory::application_used(std::string_view name) const {
  ApplicationShard& shard = impl_->shard_of(name);
  const std::lock_guard lock(shard.mutex);
  const auto it = shard.by_name.find(name);
  return it != shard.by_name.end() && it->second->tokens > 0;
}

Directory::Size Directory::size() const {
  Size size;
  for (const std::unique_ptr<TokenShard>& shard : impl_->tokens) {
    const std::lock_guard lock(shard->mutex);
    size.tokens += shard->index.size();
    size.absent += shard->absent;
    size.pinned += shard->pinned;
    // A group of 15 slots and 16 bytes of metadata, as Boost lays them out.
    const std::size_t slots = static_cast<std::size_t>(
        static_cast<double>(shard->index.max_load()) / shard->index.max_load_factor());
    size.token_bytes += shard->entries.bytes() + slots * sizeof(std::uint32_t) + slots / 15 * 16;
  }
  for (ApplicationShard& shard : impl_->applications) {
    const std::lock_guard lock(shard.mutex);
    for (const auto& [name, application] : shard.by_name) {
      size.applications += application->heard && application->grants != nullptr ? 1 : 0;
    }
  }
  return size;
}

}  // namespace sluice::config
