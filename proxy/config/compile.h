// From resources to a Snapshot, incrementally. The proxy runs it for each delta of discovery, and
// for static files; the control plane runs the same before it accepts a change.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/config/resource.h"
#include "proxy/config/snapshot.h"
#include "proxy/filter/registry.h"

namespace sluice::config {

enum class Mode : std::uint8_t {
  kPerResource,   // a bad resource keeps its old self and is reported; the good ones apply
  kAllOrNothing,  // one fault, and the snapshot is the base
};

struct ListenAddress {
  std::string address;
  std::uint16_t port = 0;
};

struct CompileContext {
  const filter::FilterRegistry& registry;
  filter::SharedState& shared;  // outlives all snapshots' factories
  Mode mode = Mode::kPerResource;

  // Whether a gateway group accepts link-local, metadata and `own_addresses` as endpoints. Null:
  // none does. An API is asked for with each of its groups. A proxy under a control plane leaves
  // that decision to it (always true).
  std::function<bool(std::string_view group)> allows_local;
  // HOST:PORT of the proxy's admin port or the control plane's ports: no endpoints.
  std::vector<std::string> own_addresses;
  // --listen NAME=ADDR:PORT, in place of the listener's own; plain text beyond loopback is then
  // asked for.
  std::map<std::string, ListenAddress, std::less<>> listen;
};

struct CompileResult {
  std::shared_ptr<const Snapshot> snapshot;  // never null; the base itself if nothing changed
  std::vector<Fault> faults;                 // of `delta` only, in its order
  // What really changed, sorted, without doubles: APIs (also when an Upstream that they use did),
  // plans, listeners (also when their Secret did), upstreams. Created and removed ones included.
  std::vector<model::Subject> changed;
  // Resources that an earlier call refused and that apply now (what they refer to has come):
  // to be saved with the delta.
  Delta recovered;
};

// Control thread. `base` null: Snapshot::empty(). The cost depends on the delta and on what uses
// the changed Upstreams, not on the size of the base (a changed Secret looks at all Upstreams).
// Order within `delta` does not matter, but that of two new APIs which claim the same path the
// first is taken. Removing something that is still used is a fault, removing something that does
// not exist is not.
CompileResult compile(std::shared_ptr<const Snapshot> base, const Delta& delta,
                      const CompileContext& context);

// Makes `whole` the complete wish: adds a removal for all that `base` has and `whole` has not.
void add_removals(Delta& whole, const Snapshot& base);

}  // namespace sluice::config
