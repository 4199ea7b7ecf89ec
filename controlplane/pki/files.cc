#include "controlplane/pki/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace sluice::controlplane::pki {
namespace {

absl::Status failed(std::string_view what, const std::string& path) {
  return unavailable(fmt::format("{} {}: {}", what, path, std::strerror(errno)));
}

absl::Status write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return failed("cannot write", path);
    }
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return ::fsync(fd) == 0 ? absl::OkStatus() : failed("cannot write", path);
}

}  // namespace

absl::Status make_private_directory(const std::string& path) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) {
    std::filesystem::create_directories(parent, error);
  }
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return failed("cannot make the directory", path);
  }
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return failed("cannot look at", path);
  }
  if (!S_ISDIR(info.st_mode)) {
    return unavailable(fmt::format("{} is not a directory", path));
  }
  if ((info.st_mode & 0077) != 0 && ::chmod(path.c_str(), 0700) != 0) {
    return failed("cannot take others' rights from", path);
  }
  return absl::OkStatus();
}

absl::Status write_file(const std::string& path, std::string_view content, unsigned mode) {
  const std::string beside = path + ".new";
  ::unlink(beside.c_str());
  const int fd = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) {
    return failed("cannot create", beside);
  }
  absl::Status status = write_all(fd, content, beside);
  ::close(fd);
  if (status.ok() && ::rename(beside.c_str(), path.c_str()) != 0) {
    status = failed("cannot replace", path);
  }
  if (!status.ok()) {
    ::unlink(beside.c_str());
  }
  return status;
}

absl::StatusOr<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return errno == ENOENT ? not_found(fmt::format("there is no {}", path))
                           : failed("cannot read", path);
  }
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

}  // namespace sluice::controlplane::pki
