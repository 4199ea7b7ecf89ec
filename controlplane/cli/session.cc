#include "controlplane/cli/session.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <system_error>

namespace sluice::controlplane::cli {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string reason() { return std::generic_category().message(errno); }

std::string text_of(const boost::json::object& object, const char* key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

std::string without_newline(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) {
    text.pop_back();
  }
  return text;
}

}  // namespace

std::string session_path() {
  if (std::string path = environment("SLUICE_SESSION"); !path.empty()) {
    return path;
  }
  std::string base = environment("XDG_CONFIG_HOME");
  if (base.empty()) {
    base = environment("HOME") + "/.config";
  }
  return base + "/sluice/session.json";
}

absl::StatusOr<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    return not_found(fmt::format("{}: cannot be read: {}", path, reason()));
  }
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (in.bad()) {
    return unavailable(fmt::format("{}: cannot be read: {}", path, reason()));
  }
  return text;
}

absl::StatusOr<Session> load_session(const std::string& server) {
  Session session;
  const std::string path = session_path();
  if (std::filesystem::exists(path)) {
    SLUICE_ASSIGN_OR_RETURN(const std::string text, read_file(path));
    boost::system::error_code error;
    const boost::json::value value = boost::json::parse(text, error);
    if (error || !value.is_object()) {
      return invalid_argument(
          fmt::format("{}: not a session file; remove it and log in again", path));
    }
    const boost::json::object& object = value.get_object();
    session.server = text_of(object, "server");
    session.token = text_of(object, "token");
    session.ca_pem = text_of(object, "ca_pem");
    session.user = text_of(object, "user");
  }
  if (const std::string from = environment("SLUICE_SERVER"); !from.empty()) {
    session.server = from;
  }
  if (const std::string from = environment("SLUICE_TOKEN"); !from.empty()) {
    session.token = from;
  }
  if (const std::string from = environment("SLUICE_CA"); !from.empty()) {
    SLUICE_ASSIGN_OR_RETURN(session.ca_pem, read_file(from));
  }
  if (!server.empty()) {
    session.server = server;
  }
  return session;
}

absl::Status save_session(const Session& session) {
  const std::string path = session_path();
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    return unavailable(fmt::format("{}: cannot be written: {}", path, reason()));
  }
  (void)fchmod(fd, 0600);
  const boost::json::object object{{"server", session.server},
                                   {"token", session.token},
                                   {"ca_pem", session.ca_pem},
                                   {"user", session.user}};
  const std::string text = boost::json::serialize(object) + "\n";
  const bool written = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (close(fd) != 0 || !written) {
    return unavailable(fmt::format("{}: cannot be written: {}", path, reason()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> read_secret(const std::string& argument) {
  if (argument == "-") {
    std::string line;
    std::getline(std::cin, line);
    return without_newline(line);
  }
  if (argument.starts_with('@')) {
    SLUICE_ASSIGN_OR_RETURN(std::string text, read_file(argument.substr(1)));
    return without_newline(std::move(text));
  }
  return argument;
}

absl::StatusOr<std::string> ask_secret(const std::string& prompt) {
  if (isatty(STDIN_FILENO) == 0) {
    return failed_precondition("no terminal to ask on; give --password-stdin");
  }
  termios before{};
  tcgetattr(STDIN_FILENO, &before);
  termios silent = before;
  silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  std::fprintf(stderr, "%s", prompt.c_str());
  tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
  std::string line;
  std::getline(std::cin, line);
  tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
  std::fprintf(stderr, "\n");
  return line;
}

bool ask_yes(const std::string& question) {
  if (isatty(STDIN_FILENO) == 0) {
    return false;
  }
  std::fprintf(stderr, "%s [y/N] ", question.c_str());
  std::string line;
  std::getline(std::cin, line);
  return line == "y" || line == "Y" || line == "yes";
}

}  // namespace sluice::controlplane::cli
