// What is promised of an Upstream's endpoints: which get new work, how much is open to them, and
// that checks find out how they are.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/upstream/state.h"
#include "tests/simulation/report.h"
#include "tests/simulation/schedule.h"
#include "tests/simulation/talk.h"

namespace sluice::simulation {

using Talks = std::vector<std::unique_ptr<Talk>>;

class EndpointBook {
 public:
  EndpointBook(const Schedule& schedule, Report& report, const Talks& talks)
      : schedule_(schedule), report_(report), talks_(talks) {}

  // The proxy's own view of them.
  void set_states(const upstream::StateTable& states) { states_ = &states; }

  // `host` fails all handshakes from now on, or none.
  void trouble(const std::string& host, bool begins);
  // A client's handshake came to `host`.
  void dialled(std::string_view host);
  void after_step();
  // All that was held is given back.
  bool nothing_held() const;

  // Whether these may be answered to a client now.
  bool explains_none_well() const { return recently(none_well_); }
  bool explains_full() const;
  // There is no endpoint that gets no new work.
  bool all_well() const;

 private:
  // By the proxy's own account, at the ends of steps.
  struct Seen {
    Mono first{};
    Mono well{};    // last
    Mono unwell{};  // last
  };

  bool recently(Mono when) const;
  void check_health(const Seen& seen, const upstream::EndpointState& state);
  void check_limits(const upstream::ClusterState& cluster);

  const Schedule& schedule_;
  Report& report_;
  const Talks& talks_;
  const upstream::StateTable* states_ = nullptr;
  std::map<std::string, Mono> troubles_;  // since when
  std::map<std::string, Seen> seen_;      // by URL
  Mono none_well_{};
};

}  // namespace sluice::simulation
