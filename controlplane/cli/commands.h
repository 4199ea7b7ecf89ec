// The commands of sluicectl. Each add_* registers subcommands whose callbacks do the work.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "controlplane/cli/door.h"
#include "controlplane/cli/output.h"
#include "proxy/base/status.h"

namespace sluice::controlplane::cli {

// What all commands share: global flags, and the outcome.
class Context {
 public:
  std::string server;
  std::string output = "table";

  Format format() const;
  // The door with the present session; an error is printed by finish().
  absl::StatusOr<Door*> door();
  // One Connect call with the present session.
  absl::StatusOr<boost::json::object> call(std::string_view method,
                                           const boost::json::object& request);
  // Prints `text` to stdout.
  void print(std::string_view text);
  // Records the command's outcome: an error goes to stderr and makes the exit status 1.
  void finish(const absl::Status& status);
  int exit_status() const { return exit_status_; }

 private:
  std::unique_ptr<Door> door_;
  int exit_status_ = 0;
};

// Registers `work` as the callback of `command`.
void on_run(CLI::App* command, Context& context, std::function<absl::Status()> work);

void add_login(CLI::App& app, Context& context);      // login, logout
void add_resources(CLI::App& app, Context& context);  // apply, diff, export, get, delete, explain
void add_story(CLI::App& app, Context& context);  // api, app, subscribe, subscription, keys, token
void add_operations(CLI::App& app,
                    Context& context);            // proxies, join-token, client-cert, user, status
void add_usage(CLI::App& app, Context& context);  // usage, connections
void add_ws(CLI::App& app, Context& context);     // ws

}  // namespace sluice::controlplane::cli
