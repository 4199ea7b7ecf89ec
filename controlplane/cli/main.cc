// sluicectl: see commands.h for what there is.
#include <cstdio>

#include "controlplane/cli/commands.h"

int main(int argc, char** argv) {
  using namespace sluice::controlplane::cli;
  Context context;
  CLI::App app("Drives a Sluice control plane.", "sluicectl");
  app.require_subcommand(1);
  app.set_version_flag("--version", SLUICE_VERSION);
  app.add_option("--server", context.server,
                 "the control plane's door (default: the session's, https://127.0.0.1:9443)");
  app.add_option("--output", context.output, "table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
  app.fallthrough();
  add_login(app, context);
  add_resources(app, context);
  add_story(app, context);
  add_operations(app, context);
  add_usage(app, context);
  add_ws(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return context.exit_status();
}
