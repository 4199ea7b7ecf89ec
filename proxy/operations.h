// The admin and probe ports, and what the metrics say about the process.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "proxy/admin/admin_server.h"
#include "proxy/base/task_group.h"
#include "proxy/base/timer_wheel.h"
#include "proxy/worker/worker_set.h"

namespace sluice {

struct Parts;
class Managed;

// Control thread.
class Operations {
 public:
  struct Hooks {
    std::function<std::string()> not_ready;
    std::function<void()> drain;
    Managed* managed = nullptr;  // null: a static proxy
  };

  Operations(Parts& parts, Hooks hooks);
  ~Operations();

  absl::Status start();
  // Ends both servers; runs the loop until they have ended.
  void stop();

 private:
  admin::AdminServices services();
  boost::json::object server_info() const;
  std::vector<std::pair<std::string, std::string>> own_certificates() const;
  boost::json::object memory() const;
  void add_metrics();
  void add_http_metrics();
  void add_managed_metrics();
  void refresh_totals();
  static void log_listening(const char* name, const std::string& address, std::uint16_t port);

  Parts& parts_;
  Hooks hooks_;
  worker::WorkerSet::Totals totals_;  // of the last second
  Timer totals_timer_;
  TaskGroup tasks_;
  std::unique_ptr<admin::AdminServer> admin_;
  std::unique_ptr<admin::AdminServer> probes_;
};

}  // namespace sluice
