// What a discovery server serves: resources as serialised bytes with a version, and the types they
// are of. No knowledge of what they mean.
#pragma once

#include <google/protobuf/message_lite.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "envoy/service/discovery/v3/discovery.pb.h"
#include "proxy/base/status.h"

namespace sluice::sync {

namespace xds = ::envoy::service::discovery::v3;

// One resource as it goes over the wire. Immutable; shared by all streams that it is sent on.
struct Resource {
  std::string name;
  // Equal exactly when the content is: see content_version().
  std::string version;
  // The serialised message, without its type.
  std::string bytes;
};
using ResourcePtr = std::shared_ptr<const Resource>;

// A type of resource, and its place in make-before-break order (the order of a vector of these).
struct ResourceType {
  std::string url;  // type.googleapis.com/...
  // Other types refer to it: its removals go out after everything else. The removals of a type that
  // nothing refers to go first in its own responses, so that a name or address can change hands.
  bool referred = false;
  // Everything that a client may see can be had by wildcard. False: by name only (an empty
  // wildcard).
  bool wildcard = true;
};

// What one client may see. The callables are called on the stream's thread, and what they show
// changes only right before the stream's on_changes says so.
struct ResourceView {
  // Names of all resources of a type.
  std::function<std::vector<std::string>(std::string_view type_url)> names;
  // Null: there is none. An error (UNAVAILABLE ...) is told to the client as a resource error, and
  // it keeps what it has.
  std::function<absl::StatusOr<ResourcePtr>(std::string_view type_url, std::string_view name)> get;
};

// The order in which proxies of this program take configuration, then identities.
const std::vector<ResourceType>& sluice_types();

// Serialised with maps in a fixed order, so that equal messages give equal bytes.
std::string deterministic_bytes(const google::protobuf::MessageLite& message);

// `epoch` and 84 bits of the content's SHA-256, 15 characters in all (no heap in a std::string).
// The epoch is one character that changes when the same bytes come to mean something else.
std::string content_version(std::string_view bytes, char epoch = '1');

// A resource of `message` under its content's version.
ResourcePtr make_resource(std::string name, const google::protobuf::MessageLite& message);

}  // namespace sluice::sync
