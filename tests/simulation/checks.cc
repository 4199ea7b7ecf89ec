#include "tests/simulation/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "proxy/base/encoding.h"
#include "proxy/sync/refusal.h"

namespace sluice::simulation {
namespace {

using config::Kind;

constexpr std::string_view kInForce = "ACK means in force";
constexpr std::string_view kWhole = "no API is half applied";
constexpr std::string_view kOthers = "nobody else is closed or refused";
constexpr std::string_view kClosed = "what is acknowledged closes within 1 s";
constexpr std::string_view kNothingLost = "no message is lost, doubled or reordered";
constexpr std::string_view kGoodOnes = "good resources apply whatever comes beside them";

// One second, the steps on both ends of it, and the wheel's millisecond.
constexpr nanoseconds kCloseWithin = milliseconds(1060);
// Between what the proxy is told and what its worker does of it.
constexpr nanoseconds kReaction = seconds(3);

std::set<std::string> refused_by(const xds::DeltaDiscoveryRequest& answer) {
  std::set<std::string> names;
  for (const sync::Refusal& refusal : sync::refusals_of(answer.error_detail())) {
    names.insert(refusal.name());
  }
  return names;
}

template <class Spec>
bool bad(const xds::Resource& resource) {
  Spec spec;
  return spec.ParseFromString(resource.resource().value()) && is_bad(spec);
}

std::set<std::string> bad_ones(const xds::DeltaDiscoveryResponse& response) {
  const auto kind = config::kind_from_type_url(response.type_url());
  std::set<std::string> names;
  for (const xds::Resource& resource : response.resources()) {
    if ((kind == Kind::kApi && bad<v1::Api>(resource)) ||
        (kind == Kind::kPlan && bad<v1::Plan>(resource))) {
      names.insert(resource.name());
    }
  }
  return names;
}

}  // namespace

void Checks::broken(const Talk& talk, std::string_view promise, std::string_view what) {
  parts_.report.broken(promise, fmt::format("connection {} ({} on {}): {}", talk.index,
                                            talk.application, talk.api, what));
}

// ---- discovery

void Checks::delivered(const xds::DeltaDiscoveryResponse& response) {
  replaced(delivered_.take(response, bad_ones(response)));
  limits_.refresh(delivered_, *worker_->snapshot());
}

void Checks::replaced(Belief former) {
  formers_.push_back({parts_.schedule.now(), std::move(former)});
  while (!recently(formers_.front().until, kReaction)) {
    formers_.pop_front();
  }
}

void Checks::answered(const xds::DeltaDiscoveryResponse& response,
                      const xds::DeltaDiscoveryRequest& answer) {
  const std::set<std::string> refused = refused_by(answer);
  check_refusals(response, refused);
  for (const xds::Resource& resource : response.resources()) {
    if (!refused.contains(resource.name())) {
      const auto kind = config::kind_from_type_url(response.type_url());
      check_resource(*kind, resource.name(), &resource.resource().value());
    }
  }
  for (const std::string& name : response.removed_resources()) {
    if (!refused.contains(name)) {
      check_resource(*config::kind_from_type_url(response.type_url()), name, nullptr);
    }
  }
  acknowledged_.take(response, refused);
  for (const auto& talk : parts_.talks) {
    look_for_faults(*talk);
  }
}

void Checks::check_refusals(const xds::DeltaDiscoveryResponse& response,
                            const std::set<std::string>& refused) {
  const std::set<std::string> expected = bad_ones(response);
  if (refused != expected) {
    parts_.report.broken(kGoodOnes,
                         fmt::format("refused [{}] of a response whose bad ones are [{}]",
                                     fmt::join(refused, " "), fmt::join(expected, " ")));
  }
}

// `bytes` null: it was removed.
void Checks::check_resource(Kind kind, const std::string& name, const std::string* bytes) {
  const config::Snapshot& snapshot = *worker_->snapshot();
  const auto check = [&](const auto& found) {
    const bool there = found != nullptr;
    if (there != (bytes != nullptr) || (there && found->content != sha256(*bytes))) {
      parts_.report.broken(
          kInForce,
          fmt::format("{} {} was acknowledged, but the worker serves {}", config::kind_name(kind),
                      name, there ? "something else" : "nothing by that name"));
    }
  };
  switch (kind) {
    case Kind::kUpstream:
      return check(snapshot.find_upstream(name));
    case Kind::kPlan:
      return check(snapshot.find_compiled_plan(name));
    case Kind::kListener:
      return check(snapshot.find_listener(name));
    case Kind::kApi:
      return check(snapshot.find_api(name));
    case Kind::kSecret:
    case Kind::kToken:
    case Kind::kGrants:
      return;  // identities are checked by what becomes of the connections
  }
}

void Checks::adopted() {
  const config::Snapshot& snapshot = *worker_->snapshot();
  snapshot.apis().visit([&](const std::shared_ptr<const config::CompiledApi>& api) {
    const int wanted = generation_of(api->api.throttle_notice);
    const auto check = [&](const upstream::Cluster& cluster, int generation) {
      const int found = generation_of(cluster.endpoints.front().path);
      if (found != generation) {
        parts_.report.broken(kWhole, fmt::format("API {} has endpoint {} where {} is due",
                                                 api->api.name, found, generation));
      }
    };
    check(*api->sandbox, wanted);
    if (api->production_upstream.empty()) {
      check(*api->production, wanted);
    } else {
      const auto& upstream = snapshot.find_upstream(api->production_upstream);
      check(*api->production, generation_of(upstream->cluster->endpoints.front().path));
    }
  });
  limits_.refresh(delivered_, snapshot);
}

// ---- connections

void Checks::began(Talk& talk) {
  limits_.join(talk);
  limits_.refresh(delivered_, *worker_->snapshot());
}

void Checks::opened(Talk& talk) {
  did(talk, "is served");
  look_for_faults(talk);
}

void Checks::passed(const Talk& talk, bool up) {
  parts_.report.trace("client {}: {} messages {}", talk.index,
                      up ? talk.up.messages : talk.down.messages, up ? "up" : "down");
  limits_.pass(talk, wall());
}

// What is acknowledged now and makes the connection's end due.
void Checks::look_for_faults(Talk& talk) {
  if (talk.must_end_by != kNever || !talk.live()) {
    return;
  }
  const std::set<std::string_view> faults = common_faults(acknowledged_, delivered_, talk);
  if (!faults.empty()) {
    talk.must_end_by = parts_.schedule.now() + kCloseWithin;
    talk.must_end_why = *faults.begin();
  }
}

bool Checks::justified(const Talk& talk, std::string_view reason) const {
  return faults(delivered_, talk).contains(reason) ||
         std::ranges::any_of(formers_, [&](const Former& former) {
           return recently(former.until, kReaction) && faults(former.belief, talk).contains(reason);
         });
}

bool Checks::expired(const Talk& talk) {
  return expiry(delivered_, talk) <= wall() ||
         std::ranges::any_of(formers_, [&](const Former& former) {
           return recently(former.until, kReaction) && expiry(former.belief, talk) <= wall();
         });
}

void Checks::check_close(const Talk& talk, std::uint16_t code, std::string_view reason) {
  parts_.report.trace("client {} is closed with {} '{}'", talk.index, code, reason);
  bool good = justified(talk, reason);
  if (reason == "access token expired") {
    good = expired(talk);
  } else if (reason == "backend connection lost") {
    good = talk.backend_lost;
  } else if (reason == "pings unanswered") {
    good = talk.client_silent;
  } else if (reason.find(" is used up; it opens in ") != std::string_view::npos) {
    good = limits_.explains(talk, wall());
  }
  if (!good) {
    broken(talk, kOthers, fmt::format("closed with {} '{}'", code, reason));
  }
}

void Checks::check_refusal(const Talk& talk) {
  if (talk.probe && talk.status != 429 && talk.code != 101506) {
    broken(talk, kOthers,
           fmt::format("a good client was refused with {} {} while all was well", talk.status,
                       talk.code));
  }
  using Level = LimitKey::Level;
  parts_.report.trace("client {} is refused with {} {}", talk.index, talk.status, talk.code);
  const auto any = [&](std::initializer_list<std::string_view> reasons) {
    return std::ranges::any_of(reasons, [&](auto reason) { return justified(talk, reason); });
  };
  bool good = false;
  switch (talk.code) {
    case 900901:
    case 900904:
      good = any({"access token revoked"});
      break;
    case 900903:
      good = expired(talk);
      break;
    case 900907:
      good = any({"application blocked", "subscription blocked"});
      break;
    case 900908:
      good = any({"application deleted", "subscription deleted"});
      break;
    case 900909:
      good = any({"application on hold or rejected", "subscription on hold or rejected"});
      break;
    case 404001:
      good = any({"API deleted", "API retired", "API is no longer published"});
      break;
    case 700700:
      good = any({"API blocked"});
      break;
    case 900800:
      good = limits_.used_up(talk, wall(), Level::kApi);
      break;
    case 900803:
      good = limits_.used_up(talk, wall(), Level::kApplication);
      break;
    case 900804:
      good = limits_.used_up(talk, wall(), Level::kSubscription);
      break;
    case 101507:
      good = recently(surroundings_.identity_away(), seconds(4));
      break;
    case 101503:
      good = talk.backend_lost || recently(surroundings_.dial_refused, seconds(6));
      break;
    case 101504:
      good = recently(surroundings_.dial_timed_out, seconds(6));
      break;
    case 101505:
      good = is_of_upstream(talk.api) && endpoints_.explains_none_well();
      break;
    case 101506:
      good = is_of_upstream(talk.api) && endpoints_.explains_full();
      break;
    default:
      good = talk.code == 0 && talk.backend_refused;
  }
  if (!good) {
    broken(talk, kOthers, fmt::format("refused with {} {}", talk.status, talk.code));
  }
}

// The backend saw the request: it is an endpoint of the API, and of no generation yet to come.
void Checks::dialled(Talk& talk, std::string_view host, std::string_view path) {
  talk.by_upstream = path.starts_with(fmt::format("/{}/", kUpstream));
  const std::string owner = talk.by_upstream ? kUpstream : talk.api;
  if (talk.by_upstream) {
    endpoints_.dialled(host.substr(0, host.find(':')));
  }
  const std::string_view base = path.substr(0, path.rfind('/'));
  const int generation = generation_of(base);
  if (base != generation_path(owner, generation) || generation < 1 ||
      generation > parts_.world.generations[owner]) {
    broken(talk, kWhole, fmt::format("was led to {}", path));
  }
}

void Checks::arrived(Talk& talk, bool up, std::uint64_t number) {
  Flow& flow = up ? talk.up : talk.down;
  const bool gap = number > flow.next_number;
  // Down, what was dropped on its way up is missing too.
  const bool may_drop = limits_.may_drop(talk, up) || (!up && limits_.may_drop(talk, true));
  if (number < flow.next_number || (gap && !may_drop)) {
    broken(talk, kNothingLost,
           fmt::format("message {} came {} where {} was due", number, up ? "up" : "down",
                       flow.next_number));
  }
  flow.next_number = number + 1;
}

std::uint64_t Checks::waiting(const Talk& talk) const {
  return (limits_.may_drop(talk, true) ? 0 : talk.up.sent - talk.up.messages) +
         (limits_.may_drop(talk, false) ? 0 : talk.down.sent - talk.down.messages);
}

// ---- time

void Checks::after_step() {
  endpoints_.after_step();  // before the verdicts: a refusal may come of what this step found out
  for (const auto& verdict : verdicts_) {
    verdict();
  }
  verdicts_.clear();
  bool overdue = false;
  for (const auto& talk : parts_.talks) {
    if (talk->murky()) {
      limits_.murky(*talk);
    }
    if (talk->state != Talk::State::kOpen) {
      continue;
    }
    if (talk->undisturbed() && talk->accepted && talk->unsent == std::array<bool, 2>{}) {
      check_flow(*talk, talk->up, true);
      check_flow(*talk, talk->down, false);
    }
    const Wall expires = std::max(expiry(acknowledged_, *talk), expiry(delivered_, *talk));
    if (talk->must_end_by == kNever && expires <= wall()) {
      talk->must_end_by = parts_.schedule.now() + kCloseWithin;
      talk->must_end_why = "access token expired";
    }
    overdue = overdue || talk->must_end_by < parts_.schedule.now();
  }
  if (overdue) {
    check_overdue();
  }
}

// What was sent and has not come needs a limit that keeps it: in the step in which it was sent, and
// where limits only delay, for as long as it is kept.
void Checks::check_flow(Talk& talk, Flow& flow, bool up) {
  const std::uint64_t missing = flow.sent - flow.messages;
  const bool more = missing > flow.missing;
  const bool held = missing > 0 && !limits_.may_drop(talk, up);
  flow.missing = missing;
  if ((more || held) && !limits_.explains(talk, wall())) {
    broken(talk, kNothingLost,
           fmt::format("{} of {} messages {} did not pass, and no limit is used up", missing,
                       flow.sent, up ? "up" : "down"));
  }
}

void Checks::check_overdue() {
  std::vector<worker::ConnectionInfo> live;
  worker_->collect(live);
  for (const auto& talk : parts_.talks) {
    const bool lives = std::ranges::any_of(
        live, [&](const worker::ConnectionInfo& info) { return info.id == talk->id; });
    if (talk->state == Talk::State::kOpen && talk->must_end_by < parts_.schedule.now() && lives) {
      broken(*talk, kClosed, fmt::format("still open although: {}", talk->must_end_why));
    }
  }
}

void Checks::at_rest() {
  const auto check = [&](Kind kind, const auto& specs) {
    for (const auto& [name, spec] : specs) {
      if (!is_bad(spec)) {
        check_resource(kind, name, &parts_.world.served(kind, name)->bytes);
      } else if (kind == Kind::kApi) {
        // It kept its old self, whole.
        const auto old = delivered_.apis.find(name);
        const auto& found = worker_->snapshot()->find_api(name);
        const bool had = old != delivered_.apis.end() && old->second.spec;
        if (had != (found != nullptr) ||
            (had && found->api.throttle_notice != old->second.spec->throttle_notice())) {
          parts_.report.broken(kGoodOnes,
                               fmt::format("bad API {} did not keep its old self", name));
        }
      }
    }
  };
  check(Kind::kPlan, parts_.world.plans);
  check(Kind::kApi, parts_.world.apis);
  for (const auto& [name, spec] : parts_.world.upstreams) {
    check_resource(Kind::kUpstream, name, &parts_.world.served(Kind::kUpstream, name)->bytes);
  }
  worker_->snapshot()->apis().visit([&](const std::shared_ptr<const config::CompiledApi>& api) {
    if (!parts_.world.apis.contains(api->api.name)) {
      parts_.report.broken(kGoodOnes,
                           fmt::format("API {} was deleted and is served", api->api.name));
    }
  });
}

}  // namespace sluice::simulation
