// The promises, held against what is seen.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/worker/worker.h"
#include "tests/simulation/belief.h"
#include "tests/simulation/endpoint_book.h"
#include "tests/simulation/limit_book.h"
#include "tests/simulation/report.h"
#include "tests/simulation/talk.h"
#include "tests/simulation/world.h"

namespace sluice::simulation {

// When faults of the surroundings could last have made a handshake fail.
struct Faults {
  std::function<Mono()> identity_away;  // its stream
  Mono dial_refused{};  // or a handshake failed
  Mono dial_timed_out{};
};

class Checks {
 public:
  struct Parts {
    const Schedule& schedule;
    World& world;
    Report& report;
    const Talks& talks;
  };
  explicit Checks(const Parts& parts)
      : parts_(parts),
        limits_(parts.schedule, parts.report),
        endpoints_(parts.schedule, parts.report, parts.talks) {}

  // The worker is made after the checks; it is there before anything is told.
  void set_worker(worker::Worker& worker) { worker_ = &worker; }
  Faults& surroundings() { return surroundings_; }
  EndpointBook& endpoints() { return endpoints_; }

  // ---- discovery
  void delivered(const xds::DeltaDiscoveryResponse& response);
  // An answer leaves the proxy: what it accepts is in force.
  void answered(const xds::DeltaDiscoveryResponse& response,
                const xds::DeltaDiscoveryRequest& answer);
  // The worker has a new snapshot: no API is half of it.
  void adopted();

  // ---- connections, told by their ends
  void began(Talk& talk);
  void opened(Talk& talk);
  void refused(const Talk& talk) {
    verdicts_.push_back([this, &talk] { check_refusal(talk); });
  }
  void dialled(Talk& talk, std::string_view host, std::string_view path);
  // A message's beginning came to the other end.
  void passed(const Talk& talk, bool up);
  void arrived(Talk& talk, bool up, std::uint64_t number);
  void closed_by_proxy(const Talk& talk, std::uint16_t code, std::string reason) {
    verdicts_.push_back(
        [this, &talk, code, reason = std::move(reason)] { check_close(talk, code, reason); });
  }
  // An end is lost.
  void murky(const Talk& talk) { limits_.murky(talk); }
  // Messages that limits keep from passing at present.
  std::uint64_t waiting(const Talk& talk) const;
  void did(const Talk& talk, std::string_view what) {
    parts_.report.trace("client {} {}", talk.index, what);
  }
  void broken(const Talk& talk, std::string_view promise, std::string_view what);

  // ---- time
  void after_step();
  // All streams are up and nothing is under way: every good resource is in force.
  void at_rest();

 private:
  Wall wall() { return worker_->loop().clock().wall(); }
  void replaced(Belief former);
  void check_resource(config::Kind kind, const std::string& name, const std::string* bytes);
  void check_refusals(const xds::DeltaDiscoveryResponse& response,
                      const std::set<std::string>& refused);
  void check_close(const Talk& talk, std::uint16_t code, std::string_view reason);
  void check_refusal(const Talk& talk);
  void check_flow(Talk& talk, Flow& flow, bool up);
  void look_for_faults(Talk& talk);
  void check_overdue();
  bool expired(const Talk& talk);
  bool justified(const Talk& talk, std::string_view reason) const;
  bool recently(Mono when, nanoseconds within) const {
    return when + within >= parts_.schedule.now();
  }

  Parts parts_;
  worker::Worker* worker_ = nullptr;
  Faults surroundings_;
  Belief delivered_;
  Belief acknowledged_;
  struct Former {
    Mono until;
    Belief belief;
  };
  std::deque<Former> formers_;  // what was replaced lately
  LimitBook limits_;
  EndpointBook endpoints_;
  // Closes and refusals of this step: what passed before them may be seen after them.
  std::vector<std::function<void()>> verdicts_;
};

}  // namespace sluice::simulation
