#include "controlplane/options.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <fstream>
#include <functional>
#include <sstream>
#include <vector>

namespace sluice::controlplane {
namespace {

using Setter = std::function<absl::Status(const std::string&)>;

// A setting that the command line knows as --some-name and the file as some_name.
struct Setting {
  std::string name;
  std::string value_name;
  std::string help;
  Setter set;
};

Setter text_to(std::string& target) {
  return [&target](const std::string& text) {
    target = text;
    return text.empty() ? invalid_argument("must not be empty") : absl::OkStatus();
  };
}

Setter address_to(Address& target) {
  return [&target](const std::string& text) -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(target, parse_address(text));
    return absl::OkStatus();
  };
}

std::vector<Setting> settings_of(Options& options) {
  const Options defaults;
  return {
      {"data_dir", "DIR", "everything that is kept; created 0700 [" + defaults.data_dir + "]",
       text_to(options.data_dir)},
      {"database", "URL", "sqlite (DATA/control.db) [" + defaults.database + "]",
       text_to(options.database)},
      {"http", "ADDR:PORT",
       "the door: admin services as JSON, OAuth [" + defaults.http.text() + "]",
       address_to(options.http)},
      {"public", "ADDR:PORT", "OAuth and well-known paths only [off]",
       [&options](const std::string& text) -> absl::Status {
         SLUICE_ASSIGN_OR_RETURN(options.open, parse_address(text));
         return absl::OkStatus();
       }},
      {"grpc", "ADDR:PORT",
       "admin services, discovery and records by gRPC [" + defaults.grpc.text() + "]",
       address_to(options.grpc)},
      {"tls_cert", "FILE",
       "certificate chain (PEM) of the door and of --public, in place of DATA/tls/server.pem; the "
       "gRPC port keeps the own authority's, which proxies verify",
       text_to(options.tls_cert)},
      {"tls_key", "FILE", "its private key (PEM)", text_to(options.tls_key)},
      {"secret_key_file", "FILE", "not available yet: refused",
       [](const std::string&) {
         return absl::UnimplementedError(
             "encryption of Secrets in the database is not available yet; leave it out (the data "
             "directory is closed to other users)");
       }},
      {"portal", "DIR", "static files served at / of the door [none]", text_to(options.portal)},
  };
}

std::string flag_of(const std::string& name) {
  std::string flag = "--" + name;
  for (char& c : flag) {
    c = c == '_' ? '-' : c;
  }
  return flag;
}

absl::Status set_bool(const YAML::Node& value, bool& target) {
  const std::string text = value.IsScalar() ? value.Scalar() : "";
  if (text != "true" && text != "false") {
    return invalid_argument("must be true or false");
  }
  target = text == "true";
  return absl::OkStatus();
}

absl::Status set_field(const std::string& name, const YAML::Node& value, Options& options) {
  if (name == "insecure_plaintext") {
    return set_bool(value, options.insecure_plaintext);
  }
  for (const Setting& setting : settings_of(options)) {
    if (setting.name == name) {
      return value.IsScalar() ? setting.set(value.Scalar())
                              : invalid_argument("must be one value, not a list or a map");
    }
  }
  return invalid_argument(
      "no such field; there are data_dir, database, http, public, grpc, tls_cert, tls_key, "
      "secret_key_file, portal, insecure_plaintext");
}

Parsed fail(const absl::Status& status, int exit_status) {
  const std::string text(message_of(status));
  std::fprintf(stderr, "sluice-control: %s\n", text.c_str());
  return {std::nullopt, exit_status};
}

absl::Status apply_file(const std::string& file, Options& options) {
  std::ifstream stream(file);
  if (!stream) {
    return not_found(fmt::format("cannot read the configuration file {}", file));
  }
  std::ostringstream text;
  text << stream.rdbuf();
  return apply_config(text.str(), file, options);
}

}  // namespace

bool Address::loopback() const { return ip == "::1" || ip.starts_with("127."); }

std::string Address::text() const {
  return ip.find(':') == std::string::npos ? fmt::format("{}:{}", ip, port)
                                           : fmt::format("[{}]:{}", ip, port);
}

absl::StatusOr<Address> parse_address(std::string_view text) {
  const absl::Status bad = invalid_argument(
      fmt::format("\"{}\" is no ADDR:PORT with a literal address, such as 127.0.0.1:9443 or "
                  "[::]:9443",
                  text));
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return bad;
  }
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) {
    host = host.substr(1, host.size() - 2);
  }
  Address address;
  address.ip = host;
  std::array<unsigned char, 16> bytes{};
  if (::inet_pton(bracketed ? AF_INET6 : AF_INET, address.ip.c_str(), bytes.data()) != 1 ||
      port.empty() || port.size() > 5 ||
      port.find_first_not_of("0123456789") != std::string_view::npos) {
    return bad;
  }
  const int number = std::stoi(std::string(port));
  if (number > 65535) {
    return bad;
  }
  address.port = static_cast<std::uint16_t>(number);
  return address;
}

absl::Status apply_config(const std::string& text, const std::string& file, Options& options) {
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& error) {
    return invalid_argument(fmt::format("{}:{}: {}", file, error.mark.line + 1, error.msg));
  }
  if (root.IsNull()) {
    return absl::OkStatus();
  }
  if (!root.IsMap()) {
    return invalid_argument(
        fmt::format("{}:1: must be a map of fields, such as `http: "
                    "127.0.0.1:9443`",
                    file));
  }
  std::string faults;
  for (const auto& entry : root) {
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "?";
    if (const absl::Status status = set_field(name, entry.second, options); !status.ok()) {
      faults += fmt::format("{}{}:{}: {}: {}", faults.empty() ? "" : "\n", file,
                            entry.first.Mark().line + 1, name, message_of(status));
    }
  }
  return faults.empty() ? absl::OkStatus() : invalid_argument(faults);
}

absl::Status check_options(const Options& options) {
  if (options.database.starts_with("postgresql:") || options.database.starts_with("postgres:")) {
    return absl::UnimplementedError(
        "database: PostgreSQL is not available yet; use `sqlite`, which keeps everything in the "
        "data "
        "directory");
  }
  if (options.database != "sqlite") {
    return invalid_argument(fmt::format("database: \"{}\" is unknown; use `sqlite`",
                                        options.database.size() > 100 ? "..." : options.database));
  }
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return invalid_argument("tls_cert and tls_key go together; give both or neither");
  }
  return absl::OkStatus();
}

Parsed parse_options(int argc, const char* const* argv) {
  CLI::App app(
      "The control plane of Sluice: owns APIs, applications, subscriptions and tokens, and pushes "
      "them to every sluice-proxy.\nFlags override the file. Passwords and keys are never given as "
      "flags.",
      "sluice-control");
  app.set_version_flag("--version", SLUICE_VERSION);
  Options options;
  std::string config;
  bool plaintext = false;
  app.add_option("--config", config, "YAML file with the same names, e.g. `data_dir: DIR`")
      ->type_name("FILE");
  const std::vector<Setting> settings = settings_of(options);
  std::vector<std::string> values(settings.size());
  std::vector<CLI::Option*> flags;
  for (std::size_t i = 0; i < settings.size(); ++i) {
    flags.push_back(app.add_option(flag_of(settings[i].name), values[i], settings[i].help)
                        ->type_name(settings[i].value_name));
  }
  app.add_flag("--insecure-plaintext", plaintext,
               "speak plain text on all own ports: for tests, or behind a TLS proxy");
  app.add_subcommand("reset-admin-password",
                     "give the user admin a new random password, write it to DATA/admin-password, "
                     "and end; the server must not be running")
      ->fallthrough();
  try {
    app.parse(argc, const_cast<char**>(argv));
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return {std::nullopt, status == 0 ? 0 : 2};
  }
  if (!config.empty()) {
    if (const absl::Status status = apply_file(config, options); !status.ok()) {
      return fail(status, 1);
    }
  }
  for (std::size_t i = 0; i < settings.size(); ++i) {
    if (flags[i]->count() == 0) {
      continue;
    }
    if (const absl::Status status = settings[i].set(values[i]); !status.ok()) {
      return fail(
          invalid_argument(fmt::format("{}: {}", flag_of(settings[i].name), message_of(status))),
          2);
    }
  }
  options.insecure_plaintext = options.insecure_plaintext || plaintext;
  options.reset_admin_password = app.got_subcommand("reset-admin-password");
  if (const absl::Status status = check_options(options); !status.ok()) {
    return fail(status, 1);
  }
  return {options, 0};
}

}  // namespace sluice::controlplane
