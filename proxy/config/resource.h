// The unit of configuration: one resource of one kind, as it travels, is compiled and is kept on
// disk; sets of changes to them; and what was found wrong.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::config {

// In make-before-break order: what is referred to comes before what refers to it. kToken and
// kGrants are identities: they go to the Directory and are not compiled.
enum class Kind : std::uint8_t { kSecret, kUpstream, kPlan, kListener, kApi, kToken, kGrants };

inline constexpr Kind kCompiledKinds[] = {Kind::kSecret, Kind::kUpstream, Kind::kPlan,
                                          Kind::kListener, Kind::kApi};

// "Secret", "Upstream", ...
std::string_view kind_name(Kind kind);
std::optional<Kind> kind_from_name(std::string_view name);
// type.googleapis.com/sluice.config.v1.<name>
std::string_view type_url(Kind kind);
std::optional<Kind> kind_from_type_url(std::string_view url);

struct ResourceKey {
  Kind kind = Kind::kSecret;
  std::string name;

  friend bool operator==(const ResourceKey&, const ResourceKey&) = default;
  friend auto operator<=>(const ResourceKey&, const ResourceKey&) = default;
};

struct Resource {
  Kind kind = Kind::kSecret;
  std::string name;
  std::string version;  // discovery's; opaque here
  std::string bytes;    // serialised sluice.config.v1.<kind>

  ResourceKey key() const { return {kind, name}; }
};

// At most one entry per key, over both lists.
struct Delta {
  std::vector<Resource> upserts;
  std::vector<ResourceKey> removals;

  bool empty() const { return upserts.empty() && removals.empty(); }
};

// Why one resource was refused. `field` is a path such as spec.endpoints.production[0]; empty if
// the whole resource is meant. `message` is for people.
struct Fault {
  Kind kind = Kind::kSecret;
  std::string name;
  std::string field;
  std::string message;

  ResourceKey key() const { return {kind, name}; }
  // Api echo-v1: spec.endpoints.production[0]: ...
  std::string text() const;
};

// One line each.
std::string text(const std::vector<Fault>& faults);

// The part of `delta` that no fault names.
Delta without_faulty(Delta delta, const std::vector<Fault>& faults);

}  // namespace sluice::config
