#include "proxy/upstream/checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "proxy/base/log.h"
#include "proxy/http/head.h"
#include "proxy/http/parse.h"
#include "proxy/net/async_side.h"
#include "proxy/websocket/frame.h"
#include "proxy/websocket/handshake.h"

namespace sluice::upstream {
namespace {

constexpr double kSpread = 0.1;
// What a server may take to answer our close frame; nothing depends on it.
constexpr nanoseconds kCloseWait = milliseconds(500);

http::RequestHead request_of(const Cluster& cluster, const model::Endpoint& endpoint) {
  http::RequestHead head;
  head.method = "GET";
  head.target = cluster.health_check->path.empty() ? endpoint.path : cluster.health_check->path;
  head.headers.add("Host", endpoint.authority);
  head.headers.add("User-Agent", "sluice-health-check");
  return head;
}

// Interim 1xx answers are passed over.
Task<absl::StatusOr<http::ResponseHead>> read_head(net::AsyncSide& side, Mono deadline) {
  http::HeadScanner scanner;
  while (true) {
    http::ResponseParse parsed =
        http::parse_response_head(side.unread(), limits::kResponseHeadBytesMax, scanner);
    if (parsed.state == http::ParseState::kError) {
      co_return unavailable("the answer is not valid HTTP");
    }
    if (parsed.state == http::ParseState::kDone) {
      side.consume(parsed.consumed);
      if (parsed.head.status / 100 != 1 || parsed.head.status == 101) {
        co_return std::move(parsed.head);
      }
      scanner = {};
      continue;
    }
    SLUICE_CO_RETURN_IF_ERROR(co_await side.read_more(limits::kResponseHeadBytesMax + 1, deadline));
  }
}

Task<absl::Status> check_http(net::AsyncSide& side, http::RequestHead request, Mono deadline) {
  request.headers.add("Connection", "close");
  const std::string text = http::serialize(request);
  SLUICE_CO_RETURN_IF_ERROR(co_await side.write_all(text, deadline));
  SLUICE_ASSIGN_OR_CO_RETURN(const http::ResponseHead head, co_await read_head(side, deadline));
  co_return head.status / 100 == 2 ? absl::OkStatus()
                                   : unavailable(fmt::format("status {}", head.status));
}

Task<absl::Status> check_websocket(net::Loop& loop, net::AsyncSide& side, http::RequestHead request,
                                   Mono deadline) {
  const std::string key = websocket::make_key();
  websocket::set_upgrade(request, key, {}, {});
  const std::string text = http::serialize(request);
  SLUICE_CO_RETURN_IF_ERROR(co_await side.write_all(text, deadline));
  SLUICE_ASSIGN_OR_CO_RETURN(const http::ResponseHead head, co_await read_head(side, deadline));
  if (head.status != 101) {
    co_return unavailable(fmt::format("status {}", head.status));
  }
  const auto answer = websocket::check_upgrade_response(head, key, {}, {});
  if (!answer.ok()) {
    co_return answer.status();
  }
  const websocket::MaskKey mask{0x73, 0x6c, 0x75, 0x69};
  const std::string close = websocket::make_close(1000, "health check", mask);
  const Mono until = std::min(deadline, loop.clock().now() + kCloseWait);
  if ((co_await side.write_all(close, until)).ok()) {
    side.side().end();
    while ((co_await side.read_more(limits::kReadBufferBytes, until)).ok()) {
      side.consume(side.unread().size());
    }
  }
  co_return absl::OkStatus();
}

}  // namespace

void Checker::adopt(const std::vector<std::shared_ptr<const Cluster>>& clusters) {
  std::map<std::string, std::shared_ptr<Round>> rounds;
  for (const std::shared_ptr<const Cluster>& cluster : clusters) {
    std::shared_ptr<Round> round = std::move(rounds_[cluster->name]);
    const bool fresh = round == nullptr;
    if (fresh) {
      round = std::make_shared<Round>();
    }
    round->cluster = cluster;
    rounds[cluster->name] = round;
    if (fresh) {
      tasks_.spawn(run(std::move(round)));
    } else {
      set_watches(*round);
    }
  }
  rounds_.swap(rounds);
  for (auto& [name, round] : rounds) {
    if (round != nullptr) {
      round->ended = true;
      for (auto& [state, watch] : round->watches) {
        watch->ended = true;
        watch->host.state->set_health(EndpointState::Health::kUnknown, loop_.clock().now());
      }
    }
  }
}

// Follows the names' addresses.
Task<void> Checker::run(std::shared_ptr<Round> round) {
  while (!round->ended) {
    const Mono now = loop_.clock().now();
    std::shared_ptr<const Cluster> cluster = round->cluster;
    (void)co_await pool_.prepare(cluster, now + cluster->connect_timeout);
    if (round->ended) {
      co_return;
    }
    set_watches(*round);
    if (!(co_await sleep_until(loop_.timers(), now + round->cluster->health_check->interval))
             .ok()) {
      co_return;
    }
  }
}

void Checker::set_watches(Round& round) {
  std::map<const EndpointState*, std::shared_ptr<Watch>> watches;
  for (const Host& host : pool_.hosts(round.cluster)) {
    std::shared_ptr<Watch> watch = std::move(round.watches[host.state.get()]);
    const bool fresh = watch == nullptr;
    if (fresh) {
      watch = std::make_shared<Watch>();
    }
    watch->host = host;
    watch->cluster = round.cluster;
    watches[host.state.get()] = watch;
    if (fresh) {
      tasks_.spawn(this->watch(std::move(watch)));
    }
  }
  round.watches.swap(watches);
  for (auto& [state, watch] : watches) {
    if (watch != nullptr) {
      watch->ended = true;
    }
  }
}

Task<void> Checker::watch(std::shared_ptr<Watch> watch) {
  // The first checks are spread, too: not all endpoints of all clusters at once.
  Mono next = loop_.clock().now() +
              loop_.rng().jitter(watch->cluster->health_check->interval / 20, 1.0);
  while (true) {
    if (!(co_await sleep_until(loop_.timers(), next)).ok() || watch->ended) {
      co_return;
    }
    const std::shared_ptr<const Cluster> cluster = watch->cluster;
    const Mono deadline = loop_.clock().now() + cluster->health_check->timeout;
    const absl::Status result = co_await check(cluster, watch->host, deadline);
    if (absl::IsCancelled(result) || watch->ended) {
      co_return;
    }
    record(*watch, result);
    const nanoseconds interval = watch->cluster->health_check->interval;
    next = loop_.clock().now() + loop_.rng().jitter(interval, kSpread);
  }
}

Task<absl::Status> Checker::check(std::shared_ptr<const Cluster> cluster, Host host,
                                  Mono deadline) {
  SLUICE_ASSIGN_OR_CO_RETURN(std::unique_ptr<net::Side> plain,
                             co_await pool_.open(cluster, host, deadline));
  if (cluster->health_check->type == HealthCheck::Type::kTcp) {
    co_return absl::OkStatus();
  }
  net::AsyncSide side(loop_, std::move(plain));
  http::RequestHead request = request_of(*cluster, *host.endpoint);
  if (cluster->health_check->type == HealthCheck::Type::kHttp) {
    co_return co_await check_http(side, std::move(request), deadline);
  }
  co_return co_await check_websocket(loop_, side, std::move(request), deadline);
}

void Checker::record(Watch& watch, const absl::Status& result) {
  using Health = EndpointState::Health;
  // Our own shortage of descriptors says nothing of the endpoint.
  if (absl::IsResourceExhausted(result)) {
    return;
  }
  EndpointState& state = *watch.host.state;
  const HealthCheck& settings = *watch.cluster->health_check;
  state.checks.fetch_add(1, std::memory_order_relaxed);
  Health health = state.health();
  if (result.ok()) {
    watch.failures = 0;
    ++watch.passes;
    if (health == Health::kUnknown || watch.passes >= settings.passes) {
      health = Health::kHealthy;
    }
  } else {
    state.checks_failed.fetch_add(1, std::memory_order_relaxed);
    watch.passes = 0;
    ++watch.failures;
    if (watch.failures >= settings.failures) {
      health = Health::kUnhealthy;
    }
  }
  if (health == state.health()) {
    return;
  }
  if (health == Health::kUnhealthy) {
    log::warning("upstream {}: {} ({}) is unhealthy: {}", watch.cluster->name, state.url(),
                 state.address(), message_of(result));
  } else if (state.health() == Health::kUnhealthy) {
    log::info("upstream {}: {} ({}) is healthy again", watch.cluster->name, state.url(),
              state.address());
  }
  state.set_health(health, loop_.clock().now());
}

}  // namespace sluice::upstream
