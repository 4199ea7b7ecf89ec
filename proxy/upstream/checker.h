// Active health checks: a process makes them on one worker's loop.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/task_group.h"
#include "proxy/upstream/cluster.h"
#include "proxy/upstream/pool.h"

namespace sluice::upstream {

// Loop thread only.
class Checker {
 public:
  // Both outlive it.
  Checker(net::Loop& loop, Pool& pool) : loop_(loop), pool_(pool), tasks_(loop.executor()) {}

  // Checks these clusters from now on, all of which have a health_check, and no others. Endpoints
  // that are checked no more are of unknown health, which counts as well.
  void adopt(const std::vector<std::shared_ptr<const Cluster>>& clusters);

  // As Pool's.
  void cancel() { tasks_.cancel(); }
  bool busy() const { return tasks_.size() > 0; }

 private:
  struct Watch {
    Host host;
    std::shared_ptr<const Cluster> cluster;  // the newest, which holds host.endpoint
    std::uint32_t failures = 0;              // in a row
    std::uint32_t passes = 0;
    bool ended = false;
  };
  // The checks of one cluster.
  struct Round {
    std::shared_ptr<const Cluster> cluster;  // the newest
    std::map<const EndpointState*, std::shared_ptr<Watch>> watches;
    bool ended = false;
  };

  Task<void> run(std::shared_ptr<Round> round);
  Task<void> watch(std::shared_ptr<Watch> watch);
  Task<absl::Status> check(std::shared_ptr<const Cluster> cluster, Host host, Mono deadline);
  void set_watches(Round& round);
  void record(Watch& watch, const absl::Status& result);

  net::Loop& loop_;
  Pool& pool_;
  std::map<std::string, std::shared_ptr<Round>> rounds_;  // by cluster
  TaskGroup tasks_;
};

}  // namespace sluice::upstream
