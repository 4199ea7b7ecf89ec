#include <fmt/core.h>

#include <cstdio>

#include "controlplane/cli/commands.h"

namespace sluice::controlplane::cli {
namespace {

struct LoginFlags {
  std::string ca;
  std::string user = "admin";
  bool password_stdin = false;
  bool print_token = false;
};

// The CA to trust: the file given, the one already in the session for this server, or after a
// question the one that the server presents.
absl::Status trust(Session& session, const LoginFlags& flags, const std::string& known_server) {
  if (!flags.ca.empty()) {
    SLUICE_ASSIGN_OR_RETURN(session.ca_pem, read_file(flags.ca));
    return absl::OkStatus();
  }
  SLUICE_ASSIGN_OR_RETURN(const Url url, parse_url(session.server));
  const bool known = !session.ca_pem.empty() && known_server == session.server;
  if (!url.tls || known) {
    return absl::OkStatus();
  }
  SLUICE_ASSIGN_OR_RETURN(const SeenCa seen, fetch_ca(url));
  std::fprintf(stderr, "%s presents a CA that is not known yet. SHA-256 fingerprint:\n  %s\n",
               session.server.c_str(), seen.sha256.c_str());
  if (!ask_yes("Trust it?")) {
    return failed_precondition(
        "not trusted; give the control plane's DATA/tls/ca.pem with --ca, or answer yes");
  }
  session.ca_pem = seen.pem;
  return absl::OkStatus();
}

absl::Status login(Context& context, const LoginFlags& flags) {
  SLUICE_ASSIGN_OR_RETURN(const Session stored, load_session(""));
  SLUICE_ASSIGN_OR_RETURN(Session session, load_session(context.server));
  session.token.clear();
  SLUICE_RETURN_IF_ERROR(trust(session, flags, stored.server));
  SLUICE_ASSIGN_OR_RETURN(const std::string password,
                          flags.password_stdin
                              ? read_secret("-")
                              : ask_secret(fmt::format("Password of {}: ", flags.user)));
  Door door(session);
  SLUICE_ASSIGN_OR_RETURN(
      const boost::json::object answer,
      door.call("AuthService/Login", {{"user", flags.user}, {"password", password}}));
  session.token = text_at(answer, "token");
  session.user = flags.user;
  if (flags.print_token) {
    context.print(session.token + "\n");
    return absl::OkStatus();
  }
  SLUICE_RETURN_IF_ERROR(save_session(session));
  context.print(fmt::format("logged in to {} as {} until {}\n", session.server, session.user,
                            text_at(answer, "expires")));
  return absl::OkStatus();
}

absl::Status logout(Context& context) {
  SLUICE_RETURN_IF_ERROR(context.call("AuthService/Logout", {}).status());
  SLUICE_ASSIGN_OR_RETURN(Session session, load_session(context.server));
  session.token.clear();
  SLUICE_RETURN_IF_ERROR(save_session(session));
  context.print("logged out\n");
  return absl::OkStatus();
}

}  // namespace

void add_login(CLI::App& app, Context& context) {
  auto flags = std::make_shared<LoginFlags>();
  CLI::App* command = app.add_subcommand("login", "Log in and keep the session");
  command->add_option("--ca", flags->ca, "the control plane's CA certificate (DATA/tls/ca.pem)");
  command->add_option("--user", flags->user, "user name")->capture_default_str();
  command->add_flag("--password-stdin", flags->password_stdin, "read the password from stdin");
  command->add_flag("--print-token", flags->print_token,
                    "print the session's token and keep nothing");
  on_run(command, context, [&context, flags] { return login(context, *flags); });
  on_run(app.add_subcommand("logout", "End the session"), context,
         [&context] { return logout(context); });
}

}  // namespace sluice::controlplane::cli
