#include "proxy/worker/worker.h"

#include <algorithm>
#include <utility>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/base/plant.h"
#include "proxy/session/client.h"
#include "proxy/session/serve.h"

namespace sluice::worker {

using session::Connection;

namespace {

std::unique_ptr<upstream::Pool> make_pool(net::Loop& loop, const ProcessServices& services) {
  return services.connect
             ? std::make_unique<upstream::Pool>(loop, services.connect, nullptr,
                                                *services.upstreams)
             : std::make_unique<upstream::Pool>(loop, *services.resolver, *services.upstreams);
}

}  // namespace

Worker::Worker(const Options& options, const ProcessServices& services)
    : index_(options.index),
      connections_max_(options.connections_max),
      services_(services),
      loop_(options.seed, options.clock),
      pool_(make_pool(loop_, services)),
      idle_(loop_),
      tasks_(loop_.executor()) {
  if (index_ == 0) {
    checker_ = std::make_unique<upstream::Checker>(loop_, *pool_);
  }
  fill_context(services);
}

Worker::~Worker() { SLUICE_CHECK(!thread_.joinable()); }

void Worker::fill_context(const ProcessServices& services) {
  filter_services_.clock = &loop_.clock();
  filter_services_.rng = &loop_.rng();
  filter_services_.find_token = [this](Sha256 hash, std::string client) {
    return find_token(hash, std::move(client));
  };
  filter_services_.known_token = [this](const Sha256& hash) -> absl::StatusOr<model::Identity> {
    if (std::optional<model::Identity> known = services_.directory->find(hash)) {
      return *std::move(known);
    }
    return unavailable("not known here");
  };
  filter_services_.find_plan = [this](std::string_view name) { return snapshot_->find_plan(name); };
  filter_services_.emit = [this](telemetry::Record record) {
    services_.recorder->emit(std::move(record));
  };
  filter_services_.open_account = [this](const telemetry::Facts& facts) {
    return services_.accounts->open(facts);
  };
  filter_services_.close_account = [this](telemetry::Account* account,
                                          const telemetry::Ending& ending) {
    services_.accounts->close(account, ending, loop_.clock().wall());
  };
  context_.loop = &loop_;
  context_.pool = pool_.get();
  context_.idle = &idle_;
  context_.directory = services.directory;
  context_.services = &filter_services_;
  context_.interests = &interests_;
  context_.clients = &clients_;
  context_.requests = &requests_;
  context_.counters = &counters_;
  context_.access_log = services.access_log;
  context_.snapshot = [this] { return snapshot_; };
  context_.refuse_reason = [this]() -> std::string_view {
    if (draining_) {
      return "The proxy is draining; connect to another one.";
    }
    if (live_.size() + tasks_.size() > connections_max_) {
      return "The proxy has as many connections as it may.";
    }
    return "";
  };
  context_.draining = [this] { return draining_; };
  context_.changes = [this] { return changes_; };
  context_.next_order = [this] { return next_order_++; };
  context_.go_live = [this](std::unique_ptr<Connection> connection) {
    go_live(std::move(connection));
  };
  context_.end_live = [this](Connection& connection) { end_live(connection); };
}

void Worker::start() {
  thread_ = std::thread([this] {
    loop_.run();
    end_all();  // here and not in a posted function: it turns the loop, which nothing may do within
  });
}

void Worker::stop_and_join() {
  if (!thread_.joinable()) {
    return;
  }
  loop_.stop();
  thread_.join();
}

void Worker::end_all() {
  bound_.clear();
  tasks_.cancel();
  pool_->cancel();
  if (checker_ != nullptr) {
    checker_->cancel();
  }
  live_.clear();
  live_count_ = 0;
  // Cancelled handshakes end in the polls that follow.
  const auto busy = [this] {
    return tasks_.size() > 0 || pool_->busy() || (checker_ != nullptr && checker_->busy());
  };
  for (int turns = 0; busy() && turns < 100; ++turns) {
    loop_.turn(nanoseconds::zero());
  }
}

// The answer may come after the asking task was cancelled, so that what it is put into belongs to
// both.
Task<absl::StatusOr<model::Identity>> Worker::find_token(Sha256 hash, std::string client_address) {
  if (std::optional<model::Identity> known = services_.directory->find(hash)) {
    co_return *std::move(known);
  }
  struct Asked {
    Wait wait;
    absl::StatusOr<model::Identity> answer = unavailable("no answer");
  };
  const auto asked = std::make_shared<Asked>();
  net::Loop* loop = &loop_;
  services_.ask_token(hash, std::move(client_address),
                      [asked, loop](absl::StatusOr<model::Identity> answer) {
                        loop->post([asked, answer = std::move(answer)]() mutable {
                          asked->answer = std::move(answer);
                          asked->wait.set(absl::OkStatus());
                        });
                      });
  SLUICE_CO_RETURN_IF_ERROR(co_await asked->wait.wait());
  co_return std::move(asked->answer);
}

void Worker::adopt(const Publication& publication, const Bindings& bindings) {
  snapshot_ = publication.snapshot;
  bind(bindings);
  recheck(publication.changed);
  adopt_checks(publication);
}

// A look at all upstreams, but only where one of them changed.
void Worker::adopt_checks(const Publication& publication) {
  const bool concerned =
      std::any_of(publication.changed.begin(), publication.changed.end(), [](const auto& subject) {
        return subject.kind == model::Subject::Kind::kUpstream;
      });
  if (checker_ == nullptr || !concerned) {
    return;
  }
  std::vector<std::shared_ptr<const upstream::Cluster>> clusters;
  snapshot_->upstreams().visit([&](const std::shared_ptr<const config::CompiledUpstream>& one) {
    if (one->cluster->health_check != nullptr) {
      clusters.push_back(one->cluster);
    }
  });
  checker_->adopt(clusters);
}

void Worker::bind(const Bindings& bindings) {
  if (draining_) {
    return;
  }
  std::erase_if(bound_, [&](const auto& entry) {
    const auto wanted = bindings.find(entry.first);
    return wanted == bindings.end() || wanted->second != entry.second.binding;
  });
  for (const auto& [name, binding] : bindings) {
    if (bound_.contains(name)) {
      continue;
    }
    net::ListenOptions options;
    options.address = binding.address;
    options.port = binding.port;
    options.reuse_port = true;
    auto acceptor = net::Acceptor::listen(
        loop_, options,
        [this, name = name](std::unique_ptr<net::Side> side) { serve(std::move(side), name); });
    if (!acceptor.ok()) {
      log::error("worker {}: listener {}: {}", index_, name, message_of(acceptor.status()));
      continue;
    }
    bound_.emplace(name, Bound{binding, *std::move(acceptor)});
  }
}

void Worker::serve(std::unique_ptr<net::Side> side, std::string_view listener) {
  ++counters_.accepted;
  // Looked up anew for each connection: a rotated certificate or an edited chain is used at once.
  std::shared_ptr<const config::CompiledListener> compiled = snapshot_->find_listener(listener);
  if (compiled != nullptr) {
    tasks_.spawn(session::serve(context_, std::move(side), std::move(compiled)));
  }
}

void Worker::recheck(const std::vector<model::Subject>& changed) {
  ++changes_;
  std::vector<Connection*> concerned;
  for (const model::Subject& subject : changed) {
    interests_.find(subject, concerned);
  }
  // In an order of its own, not that of addresses: a simulated run repeats exactly.
  std::sort(concerned.begin(), concerned.end(), [](const Connection* a, const Connection* b) {
    return a->live_index < b->live_index;
  });
  concerned.erase(std::unique(concerned.begin(), concerned.end()), concerned.end());
  if (SLUICE_PLANT(kSkippedRecheck) && !concerned.empty()) concerned.pop_back();
  for (Connection* connection : concerned) {
    connection->recheck(*snapshot_);
  }
}

void Worker::go_live(std::unique_ptr<Connection> connection) {
  connection->live_index = live_.size();
  live_.push_back(std::move(connection));
  live_count_.store(live_.size(), std::memory_order_relaxed);
}

void Worker::end_live(Connection& connection) {
  loop_.post([this, target = &connection] {
    const std::size_t index = target->live_index;
    if (index >= live_.size() || live_[index].get() != target) {
      return;  // end_all was first
    }
    ++counters_.closed;
    const std::unique_ptr<Connection> ended = std::move(live_[index]);
    if (index + 1 != live_.size()) {
      live_[index] = std::move(live_.back());
      live_[index]->live_index = index;
    }
    live_.pop_back();
    live_count_.store(live_.size(), std::memory_order_relaxed);
  });
}

void Worker::collect(std::vector<ConnectionInfo>& out) const {
  const auto add = [&](Connection& connection) {
    const filter::Exchange& ex = connection.exchange();
    ConnectionInfo info;
    info.id = ex.id;
    info.listener = ex.listener;
    info.api = ex.api->name;
    info.application = ex.principal ? ex.principal->application : "";
    info.client_address = ex.client_address;
    info.endpoint = ex.endpoint;
    info.begin = ex.begin;
    info.counts = ex.account != nullptr ? ex.account->counts() : telemetry::Counts{};
    info.worker = index_;
    out.push_back(std::move(info));
  };
  for (const std::unique_ptr<Connection>& connection : live_) {
    add(*connection);
  }
  for (Connection* request : requests_.items()) {
    add(*request);
  }
}

bool Worker::close_connection(std::string_view id) {
  for (const std::unique_ptr<Connection>& connection : live_) {
    if (connection->exchange().id == id && connection->relay() != nullptr) {
      connection->close(filter::CloseCause::kClosedByOperator);
      return true;
    }
  }
  for (Connection* request : requests_.items()) {
    if (request->exchange().id == id) {
      request->close(filter::CloseCause::kClosedByOperator);
      return true;
    }
  }
  return false;
}

// Clients of HTTP APIs that wait between two requests; the others get `Connection: close` with the
// response that is under way.
void Worker::close_idle_clients() {
  // Posted, since a coroutine that asks for it would let theirs run, and leave the list, at once.
  loop_.post([this] {
    for (session::Client* client : clients_.items()) {
      client->close_if_idle();
    }
  });
}

std::uint64_t Worker::refused_no_descriptors() const {
  std::uint64_t sum = 0;
  for (const auto& [name, bound] : bound_) {
    sum += bound.acceptor->refused_no_descriptors();
  }
  return sum;
}

void Worker::drain(nanoseconds delay, nanoseconds time, std::function<void()> done) {
  tasks_.spawn(run_drain(delay, time, std::move(done)));
}

Task<void> Worker::run_drain(nanoseconds delay, nanoseconds time, std::function<void()> done) {
  constexpr nanoseconds kStep = milliseconds(20);
  (void)co_await sleep_until(loop_.timers(), loop_.clock().now() + delay);
  draining_ = true;
  bound_.clear();
  const Mono begin = loop_.clock().now();
  const std::size_t first = live_.size();
  std::size_t asked = 0;
  std::size_t next = 0;
  close_idle_clients();
  const Mono end = begin + time + limits::kCloseTimeout * 2;
  while (!(live_.empty() && clients_.items().empty()) && loop_.clock().now() < end) {
    const double part = time > nanoseconds::zero()
                            ? std::chrono::duration<double>(loop_.clock().now() - begin) / time
                            : 1.0;
    const auto target = static_cast<std::size_t>(static_cast<double>(first) * part) + 1;
    // Those already closing leave the table and others take their places: go round.
    for (std::size_t tries = live_.size(); asked < target && tries > 0; --tries) {
      next = next + 1 < live_.size() ? next + 1 : 0;
      session::Relay* relay = live_[next]->relay();
      if (relay != nullptr && !relay->closing()) {
        relay->close(filter::CloseCause::kDraining);
        ++asked;
      }
    }
    if (!(co_await sleep_until(loop_.timers(), loop_.clock().now() + kStep)).ok()) {
      break;
    }
    close_idle_clients();
  }
  done();
}

}  // namespace sluice::worker
