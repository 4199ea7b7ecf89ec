// The kinds of resources as one table, driven by the protobuf descriptors: what is generic about a
// kind (storing, listing, blanking secrets, finding references) is written once.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::controlplane::model {

using Message = google::protobuf::Message;

// What happens to a resource whose reference goes away in a cascade.
enum class OnCascade {
  kDelete,         // it cannot be without: it is deleted too
  kStrip,          // the entry is taken out of its list
  kStripOrDelete,  // likewise; with the last entry it is deleted
};

struct ReferenceRule {
  std::string field;     // in the spec, dots between names: endpoints.production
  std::string kind;      // what it names
  std::string fallback;  // named where the field is empty; empty: then there is no reference
  std::string prefix;    // only values that begin so are references: `upstream:`
  OnCascade on_cascade = OnCascade::kDelete;
};

struct Kind {
  std::string name;   // Api
  std::string field;  // api: the resource's field in Create and Update requests
  const google::protobuf::Descriptor* resource;  // sluice.admin.v1.Api
  const google::protobuf::Descriptor* spec;      // sluice.config.v1.Api
  std::vector<std::string> write_only;           // fields of the spec that are never shown
  std::vector<std::string> immutable;            // fields that are set at creation
  // Fields that, left out of an update, stay as they are.
  std::vector<std::string> kept;
  std::vector<ReferenceRule> references;
  bool composed_name = false;  // LEFT:RIGHT, of two fields

  std::unique_ptr<Message> new_spec() const;
};

// In the order in which they are applied: what is referred to first.
const std::vector<Kind>& kinds();
// Null: no such kind.
const Kind* find_kind(std::string_view name);

// Whether a field of the spec stands there (is not empty, zero or absent).
bool is_set(const Message& spec, const std::string& field);
void clear_field(Message& spec, const std::string& field);
// Takes the value of `field` over from another message of the same type.
void copy_field(const Message& from, Message& to, const std::string& field);
bool same_field(const Message& a, const Message& b, const std::string& field);

// Without its write-only fields.
void blank_write_only(const Kind& kind, Message& spec);

// Deterministic bytes, so that equal specs have equal bytes.
std::string serialise(const Message& spec);

}  // namespace sluice::controlplane::model
