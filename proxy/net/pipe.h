// Two joined in-memory sides, for the simulation and unit tests: no descriptor, no kernel.
#pragma once

#include <memory>
#include <utility>

#include "proxy/net/loop.h"
#include "proxy/net/side.h"

namespace sluice::net {

// How a pipe behaves; the simulation changes it while it runs.
struct PipeRules {
  std::size_t buffer_bytes = 64 * 1024;  // what one direction holds before write() takes less
  std::size_t chunk_bytes_max = 0;       // deliver at most so many bytes a turn and side; 0: all
};

// Delivery happens in later turns of `loop`, never within write(), at most
// limits::kReadBufferBytes a turn and side. Both sides may be destroyed in any order; as with TCP
// the other then gets what was written before, and an end, or an error if the destroyed one had
// unread bytes or is written to.
std::pair<std::unique_ptr<Side>, std::unique_ptr<Side>> make_pipe(
    Loop& loop, std::shared_ptr<const PipeRules> rules);

}  // namespace sluice::net
