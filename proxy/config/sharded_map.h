// A map from names to immutable values whose copies share structure: 256 immutable shards, so that
// a changed copy costs its changed shards and 256 pointers, however large the map is.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <memory>
#include <string_view>
#include <utility>

namespace sluice::config {

// FNV-1a with a final mix: the low byte picks the shard.
struct NameHash {
  using is_avalanching = void;
  std::size_t operator()(std::string_view name) const {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : name) {
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    }
    hash ^= hash >> 32;
    hash *= 0x9e3779b97f4a7c15ULL;
    return hash ^ (hash >> 29);
  }
};

// V has `std::string_view key() const`, constant for its life. Copies are cheap. Reading needs no
// lock as long as nobody writes to the same object.
template <class V>
class ShardedMap {
 public:
  using Value = std::shared_ptr<const V>;
  static constexpr std::size_t kShards = 256;

  static std::size_t shard_of(std::string_view key) { return NameHash{}(key) % kShards; }

  // Null if there is none. The reference is valid until the map is changed or destroyed.
  const Value& find(std::string_view key) const {
    static const Value none;
    const std::shared_ptr<const Shard>& shard = shards_[shard_of(key)];
    if (shard == nullptr) {
      return none;
    }
    const auto it = shard->find(key);
    return it == shard->end() ? none : it->second;
  }

  std::size_t size() const { return size_; }

  // In no order.
  template <class See>
  void visit(const See& see) const {
    for (const std::shared_ptr<const Shard>& shard : shards_) {
      if (shard != nullptr) {
        for (const auto& [key, value] : *shard) {
          see(value);
        }
      }
    }
  }

 private:
  template <class>
  friend class ShardedMapEditor;
  // Keys are views into the values.
  using Shard = boost::unordered_flat_map<std::string_view, Value, NameHash>;
  std::array<std::shared_ptr<const Shard>, kShards> shards_;
  std::size_t size_ = 0;
};

// Changes a copy. Shards are copied at their first change.
template <class V>
class ShardedMapEditor {
 public:
  using Map = ShardedMap<V>;
  using Value = typename Map::Value;

  explicit ShardedMapEditor(Map base) : map_(std::move(base)) {}

  const Value& find(std::string_view key) const { return map_.find(key); }
  // What was changed so far included.
  const Map& map() const { return map_; }

  void put(Value value) {
    auto& shard = own(value->key());
    const std::string_view key = value->key();
    map_.size_ -= shard.erase(key);
    shard.emplace(key, std::move(value));
    ++map_.size_;
  }

  void erase(std::string_view key) {
    if (map_.find(key) != nullptr) {
      map_.size_ -= own(key).erase(key);
    }
  }

 private:
  using Shard = typename Map::Shard;

  Shard& own(std::string_view key) {
    const std::size_t index = Map::shard_of(key);
    if (owned_[index] == nullptr) {
      owned_[index] = map_.shards_[index] == nullptr
                          ? std::make_shared<Shard>()
                          : std::make_shared<Shard>(*map_.shards_[index]);
      map_.shards_[index] = owned_[index];
    }
    return *owned_[index];
  }

  Map map_;
  std::array<std::shared_ptr<Shard>, Map::kShards> owned_;
};

}  // namespace sluice::config
