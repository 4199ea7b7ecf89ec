#include "controlplane/cli/commands.h"

#include <cstdio>
#include <utility>

namespace sluice::controlplane::cli {

Format Context::format() const {
  return output == "json" ? Format::kJson : output == "yaml" ? Format::kYaml : Format::kTable;
}

absl::StatusOr<Door*> Context::door() {
  if (door_ == nullptr) {
    SLUICE_ASSIGN_OR_RETURN(Session session, load_session(server));
    door_ = std::make_unique<Door>(std::move(session));
  }
  return door_.get();
}

absl::StatusOr<boost::json::object> Context::call(std::string_view method,
                                                  const boost::json::object& request) {
  SLUICE_ASSIGN_OR_RETURN(Door * to, door());
  return to->call(method, request);
}

void Context::print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void Context::finish(const absl::Status& status) {
  if (!status.ok()) {
    std::fprintf(stderr, "sluicectl: %s\n", std::string(message_of(status)).c_str());
    exit_status_ = 1;
  }
}

void on_run(CLI::App* command, Context& context, std::function<absl::Status()> work) {
  command->callback([&context, work = std::move(work)] { context.finish(work()); });
}

}  // namespace sluice::controlplane::cli
