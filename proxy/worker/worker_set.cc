#include "proxy/worker/worker_set.h"

#include <fmt/core.h>

#include <atomic>
#include <mutex>
#include <utility>

#include "proxy/base/log.h"
#include "proxy/base/rng.h"

namespace sluice::worker {

WorkerSet::WorkerSet(const Options& options, const ProcessServices& services, Post post_to_control)
    : post_(std::move(post_to_control)) {
  const std::size_t share = options.connections_max / static_cast<std::size_t>(options.workers);
  for (int i = 0; i < options.workers; ++i) {
    Worker::Options one;
    one.index = i;
    one.seed = system_seed();
    one.connections_max = share;
    workers_.push_back(std::make_unique<Worker>(one, services));
  }
  for (const auto& worker : workers_) {
    worker->start();
  }
}

WorkerSet::~WorkerSet() { stop(); }

void WorkerSet::stop() {
  for (const auto& worker : workers_) {
    worker->stop_and_join();
  }
}

void WorkerSet::on_all(std::function<void(Worker&)> work, std::function<void()> done) {
  const auto left = std::make_shared<std::atomic<std::size_t>>(workers_.size());
  const auto shared_work = std::make_shared<const std::function<void(Worker&)>>(std::move(work));
  const auto shared_done = std::make_shared<const std::function<void()>>(std::move(done));
  for (const auto& worker : workers_) {
    Worker* target = worker.get();
    target->post([this, target, left, shared_work, shared_done] {
      (*shared_work)(*target);
      if (left->fetch_sub(1) == 1) {
        post_([shared_done] { (*shared_done)(); });
      }
    });
  }
}

std::vector<config::Fault> WorkerSet::update_bindings(const config::Snapshot& snapshot,
                                                      std::vector<std::string>& announcements) {
  std::vector<config::Fault> faults;
  Bindings wanted;
  for (const auto& listener : snapshot.listeners()) {
    wanted[listener->name] = Binding{listener->address, listener->port};
  }
  std::erase_if(bindings_, [&](const auto& entry) {
    const auto it = wanted.find(entry.first);
    return it == wanted.end() || it->second != wanted_[entry.first];
  });
  for (const auto& [name, binding] : wanted) {
    if (bindings_.contains(name)) {
      continue;
    }
    const auto port = net::probe_port(binding.address, binding.port);
    if (!port.ok()) {
      faults.push_back(
          {config::Kind::kListener, name, "spec.port", std::string(message_of(port.status()))});
      log::error("listener {}: {}", name, message_of(port.status()));
      continue;
    }
    bindings_[name] = Binding{binding.address, *port};
    const bool v6 = binding.address.find(':') != std::string::npos;
    announcements.push_back(fmt::format("listening {} {}{}{}:{}", name, v6 ? "[" : "",
                                        binding.address, v6 ? "]" : "", *port));
  }
  wanted_ = std::move(wanted);
  return faults;
}

std::vector<config::Fault> WorkerSet::publish(Publication publication, std::function<void()> done) {
  std::vector<std::string> announcements;
  std::vector<config::Fault> faults = update_bindings(*publication.snapshot, announcements);
  const auto shared = std::make_shared<const Publication>(std::move(publication));
  const auto bindings = std::make_shared<const Bindings>(bindings_);
  on_all([shared, bindings](Worker& worker) { worker.adopt(*shared, *bindings); },
         [this, announcements = std::move(announcements), done = std::move(done)] {
           // Said when it is so: whoever reads it may connect.
           for (const std::string& line : announcements) {
             log::info("{}", line);
           }
           if (!published_) {
             published_ = true;
             log::info("configuration in force");
           }
           done();
         });
  return faults;
}

void WorkerSet::recheck(std::vector<model::Subject> changed, std::function<void()> done) {
  const auto shared = std::make_shared<const std::vector<model::Subject>>(std::move(changed));
  on_all([shared](Worker& worker) { worker.recheck(*shared); }, std::move(done));
}

void WorkerSet::connections(std::function<void(std::vector<ConnectionInfo>)> answer) {
  struct Gathered {
    std::mutex mutex;
    std::vector<ConnectionInfo> all;
  };
  const auto gathered = std::make_shared<Gathered>();
  on_all(
      [gathered](Worker& worker) {
        std::vector<ConnectionInfo> own;
        worker.collect(own);
        const std::lock_guard lock(gathered->mutex);
        std::move(own.begin(), own.end(), std::back_inserter(gathered->all));
      },
      [gathered, answer = std::move(answer)] { answer(std::move(gathered->all)); });
}

void WorkerSet::close_connection(std::string id, std::function<void(bool)> answer) {
  const auto found = std::make_shared<std::atomic<bool>>(false);
  on_all(
      [found, id = std::move(id)](Worker& worker) {
        if (worker.close_connection(id)) {
          *found = true;
        }
      },
      [found, answer = std::move(answer)] { answer(*found); });
}

void WorkerSet::totals(std::function<void(Totals)> answer) {
  struct Sum {
    std::mutex mutex;
    Totals totals;
  };
  const auto sum = std::make_shared<Sum>();
  on_all(
      [sum](Worker& worker) {
        const session::SessionCounters own = worker.counters();
        const std::lock_guard lock(sum->mutex);
        sum->totals.sessions += own;
        sum->totals.refused_no_descriptors += worker.refused_no_descriptors();
        sum->totals.live += worker.live_connections();
        sum->totals.idle_connections += worker.idle_connections().size();
      },
      [sum, answer = std::move(answer)] { answer(sum->totals); });
}

void WorkerSet::drain(nanoseconds delay, nanoseconds time, std::function<void()> done) {
  const auto left = std::make_shared<std::atomic<std::size_t>>(workers_.size());
  const auto shared_done = std::make_shared<const std::function<void()>>(std::move(done));
  for (const auto& worker : workers_) {
    Worker* target = worker.get();
    target->post([this, target, delay, time, left, shared_done] {
      target->drain(delay, time, [this, left, shared_done] {
        if (left->fetch_sub(1) == 1) {
          post_([shared_done] { (*shared_done)(); });
        }
      });
    });
  }
}

std::size_t WorkerSet::live_connections() const {
  std::size_t sum = 0;
  for (const auto& worker : workers_) {
    sum += worker->live_connections();
  }
  return sum;
}

}  // namespace sluice::worker
