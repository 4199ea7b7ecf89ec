// The commands of the people who run the gateways.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

#include "controlplane/cli/commands.h"
#include "controlplane/cli/kinds.h"

namespace sluice::controlplane::cli {
namespace {

// 90s, 15m, 1h, 7d as seconds.
absl::StatusOr<std::int64_t> seconds_of(const std::string& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(end, text.data() + text.size());
  const std::int64_t factor = unit == "s"   ? 1
                              : unit == "m" ? 60
                              : unit == "h" ? 3600
                              : unit == "d" ? 86400
                                            : 0;
  if (error != std::errc() || number <= 0 || number > 1'000'000 || factor == 0) {
    return invalid_argument(fmt::format("{}: must be a time such as 90s, 15m, 1h or 7d", text));
  }
  return number * factor;
}

boost::json::array array_of(const boost::json::object& answer, const char* key) {
  const auto* found = answer.if_contains(key);
  return found != nullptr && found->is_array() ? found->get_array() : boost::json::array();
}

absl::Status list_proxies(Context& context) {
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object answer,
                          context.call("ProxyService/ListProxies", {}));
  context.print(show_rows(context.format(), array_of(answer, "proxies"),
                          {{"PROXY", "nodeId"},
                           {"GROUP", "group"},
                           {"CONNECTED", "connected"},
                           {"REVISION", "acknowledgedRevision"},
                           {"LAG", "lag"},
                           {"LAST SEEN", "lastSeen"},
                           {"CERTIFICATE UNTIL", "certificateExpires"},
                           {"VERSION", "software"}}));
  return absl::OkStatus();
}

absl::Status show_proxy(Context& context, const std::string& node) {
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object answer,
                          context.call("ProxyService/ListProxies", {}));
  for (const boost::json::value& proxy : array_of(answer, "proxies")) {
    if (text_at(proxy, "nodeId") == node) {
      const Format format = context.format() == Format::kTable ? Format::kYaml : context.format();
      context.print(show_value(format, proxy));
      return absl::OkStatus();
    }
  }
  return not_found(fmt::format("{}: no such proxy; see `sluicectl proxies list`", node));
}

void add_proxies(CLI::App& app, Context& context) {
  CLI::App* proxies = app.add_subcommand("proxies", "The proxies and what they have in force");
  proxies->require_subcommand(1);
  on_run(proxies->add_subcommand("list", "All of them"), context,
         [&context] { return list_proxies(context); });
  auto shown = std::make_shared<std::string>();
  CLI::App* show = proxies->add_subcommand("show", "One of them, with refusals and warnings");
  show->add_option("NODE", *shown)->required();
  on_run(show, context, [&context, shown] { return show_proxy(context, *shown); });
  struct Flags {
    std::string node;
    std::string group = "default";
  };
  auto gone = std::make_shared<Flags>();
  CLI::App* remove = proxies->add_subcommand("remove", "Cut it off and refuse its certificate");
  remove->add_option("NODE", gone->node)->required();
  remove->add_option("--group", gone->group)->capture_default_str();
  on_run(remove, context, [&context, gone]() -> absl::Status {
    SLUICE_RETURN_IF_ERROR(
        context.call("ProxyService/RemoveProxy", {{"nodeId", gone->node}, {"group", gone->group}})
            .status());
    context.print(fmt::format("proxy {} removed\n", gone->node));
    return absl::OkStatus();
  });
}

void add_join_token(CLI::App& app, Context& context) {
  struct Flags {
    std::string group = "default";
    int uses = 1;
    std::string ttl = "1h";
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* parent = app.add_subcommand("join-token", "Let new proxies in");
  parent->require_subcommand(1);
  CLI::App* create = parent->add_subcommand("create", "For sluice-proxy --join-token-file");
  create->add_option("--group", flags->group)->capture_default_str();
  create->add_option("--uses", flags->uses)->check(CLI::Range(1, 10'000))->capture_default_str();
  create->add_option("--ttl", flags->ttl)->capture_default_str();
  on_run(create, context, [&context, flags]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const std::int64_t ttl, seconds_of(flags->ttl));
    SLUICE_ASSIGN_OR_RETURN(
        const boost::json::object answer,
        context.call("ProxyService/CreateJoinToken",
                     {{"group", flags->group}, {"uses", flags->uses}, {"ttlS", ttl}}));
    context.print(context.format() == Format::kTable ? text_at(answer, "token") + "\n"
                                                     : show_value(context.format(), answer));
    return absl::OkStatus();
  });
}

absl::Status write_private(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    return failed_precondition(fmt::format("{}: cannot be made, or exists already", path));
  }
  const bool written = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  return close(fd) == 0 && written ? absl::OkStatus()
                                   : unavailable(fmt::format("{}: cannot be written", path));
}

void add_client_certificate(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  CLI::App* parent = app.add_subcommand("client-cert", "Certificates for gRPC callers");
  parent->require_subcommand(1);
  CLI::App* create = parent->add_subcommand("create", "Writes NAME.pem, NAME.key and NAME-ca.pem");
  create->add_option("NAME", *name)->required();
  on_run(create, context, [&context, name]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(
        const boost::json::object answer,
        context.call("ProxyService/CreateClientCertificate", {{"name", *name}}));
    SLUICE_RETURN_IF_ERROR(write_private(*name + ".key", text_at(answer, "privateKeyPem")));
    SLUICE_RETURN_IF_ERROR(write_private(*name + ".pem", text_at(answer, "certificatePem")));
    SLUICE_RETURN_IF_ERROR(write_private(*name + "-ca.pem", text_at(answer, "caPem")));
    context.print(fmt::format("{0}.pem, {0}.key and {0}-ca.pem written\n", *name));
    return absl::OkStatus();
  });
}

void add_users(CLI::App& app, Context& context) {
  CLI::App* users = app.add_subcommand("user", "People and programs that may administer");
  users->require_subcommand(1);
  for (const bool create : {true, false}) {
    struct Flags {
      std::string name;
      bool password_stdin = false;
    };
    auto flags = std::make_shared<Flags>();
    CLI::App* command = users->add_subcommand(create ? "create" : "passwd",
                                              create ? "Make a user" : "Change a password");
    command->add_option("NAME", flags->name)->required();
    command->add_flag("--password-stdin", flags->password_stdin, "read the password from stdin");
    on_run(command, context, [&context, flags, create]() -> absl::Status {
      SLUICE_ASSIGN_OR_RETURN(const std::string password, flags->password_stdin
                                                              ? read_secret("-")
                                                              : ask_secret("New password: "));
      const auto answer =
          create ? context.call(
                       "UserService/CreateUser",
                       {{"user", {{"name", flags->name}, {"spec", {{"password", password}}}}}})
                 : context.call("UserService/SetPassword",
                                {{"name", flags->name}, {"password", password}});
      SLUICE_RETURN_IF_ERROR(answer.status());
      context.print(fmt::format("user {} {}\n", flags->name, create ? "created" : "changed"));
      return absl::OkStatus();
    });
  }
}

absl::Status status(Context& context) {
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object answer,
                          context.call("StatusService/GetStatus", {}));
  if (context.format() != Format::kTable) {
    context.print(show_value(context.format(), answer));
    return absl::OkStatus();
  }
  const auto number = [&](const char* key) {
    const std::string text = text_at(answer, key);
    return text.empty() ? std::string("0") : text;
  };
  context.print(fmt::format(
      "version        {}\nup since       {}\nrevision       {}\napis           {}\n"
      "applications   {}\nsubscriptions  {}\nproxies        {} connected, {} known\n"
      "public URLs    {}\n",
      text_at(answer, "version"), text_at(answer, "startTime"), number("revision"), number("apis"),
      number("applications"), number("subscriptions"), number("proxiesConnected"),
      number("proxiesKnown"), text_at(answer, "publicUrls")));
  for (const boost::json::value& warning : array_of(answer, "warnings")) {
    context.print(fmt::format("warning: {}\n", std::string(warning.get_string())));
  }
  return absl::OkStatus();
}

}  // namespace

void add_operations(CLI::App& app, Context& context) {
  add_proxies(app, context);
  add_join_token(app, context);
  add_client_certificate(app, context);
  add_users(app, context);
  on_run(app.add_subcommand("status", "The control plane at a glance"), context,
         [&context] { return status(context); });
}

}  // namespace sluice::controlplane::cli
