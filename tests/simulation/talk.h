// One connection as its two ends see it: what the promises are held against.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "proxy/base/clock.h"

namespace sluice::simulation {

struct LimitKey;

// One direction: `sent` by its sender (first frames), the rest as arrived at its receiver.
struct Flow {
  std::uint64_t sent = 0;
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
  std::uint64_t next_number = 1;  // of the message that must come next
  std::uint64_t missing = 0;      // at the end of the last step
};

struct Talk {
  enum class State : std::uint8_t { kHandshake, kOpen, kOver };

  int index = 0;
  std::string token;  // SHA-256, hex
  std::string application;
  std::string api;
  bool sandbox = false;
  Mono began{};
  State state = State::kHandshake;
  std::string id;  // X-Request-Id; empty until one end has seen it
  int status = 0;  // of the handshake's answer
  int code = 0;    // of a refusal's body

  Flow up;
  Flow down;
  std::array<LimitKey*, 3> limits{};

  Mono ended{};              // of its client's end
  bool by_upstream = false;  // its backend is one of the Upstream's
  int dials = 0;             // handshakes that came to a backend

  bool accepted = false;         // the client saw a 101
  bool probe = false;            // nothing stands in its way
  bool client_vanished = false;  // without a close frame
  bool client_closed = false;    // it began a close
  bool client_silent = false;    // answers neither pings nor close frames
  bool backend_seen = false;     // a backend got its head
  bool backend_over = false;     // its stream ended
  bool backend_lost = false;     // died without a close frame
  bool backend_closed = false;   // it began a close
  bool backend_refused = false;  // it answered otherwise than by a 101
  bool close_seen = false;       // a close frame, or the end, reached the client
  std::array<bool, 2> unsent{};  // an end has bytes that its side did not take

  Mono must_end_by = kNever;
  std::string must_end_why;

  bool live() const { return state == State::kOpen && !close_seen; }
  // The proxy may still pass messages to an end that is lost, unseen.
  bool murky() const {
    return (client_vanished && backend_seen && !backend_over) ||
           (backend_lost && state != State::kOver);
  }
  // Both ends read on and nobody has begun to close.
  bool undisturbed() const {
    return live() && !client_closed && !backend_closed && !backend_lost && !client_vanished;
  }
};

}  // namespace sluice::simulation
