#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "proxy/admin/admin_server.h"
#include "proxy/base/encoding.h"

namespace sluice::admin {
namespace {

constexpr std::size_t kTokenBytesMin = 32;
constexpr std::size_t kFileBytesMax = 1024;

absl::Status file_error(const std::string& path, const char* doing) {
  return failed_precondition(
      fmt::format("{} {}: {}", doing, path, std::generic_category().message(errno)));
}

absl::StatusOr<std::string> make_token(const std::string& path) {
  const std::string token = base64url(random_bytes(32));
  const std::string text = token + "\n";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    return file_error(path, "cannot make");
  }
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(fd) == 0;
  absl::Status status = written ? absl::OkStatus() : file_error(path, "cannot write");
  ::close(fd);
  if (!status.ok()) {
    ::unlink(path.c_str());  // half a token would be an easy one
    return status;
  }
  return token;
}

}  // namespace

absl::StatusOr<std::string> load_admin_token(const std::string& data_dir) {
  const std::string path = data_dir + "/admin-token";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    return errno == ENOENT ? make_token(path) : file_error(path, "cannot read");
  }
  struct stat info {};
  ::fstat(fd, &info);
  std::string text(kFileBytesMax, '\0');
  const ssize_t size = ::read(fd, text.data(), text.size());
  absl::Status status = size < 0 ? file_error(path, "cannot read") : absl::OkStatus();
  ::close(fd);
  SLUICE_RETURN_IF_ERROR(status);
  if ((info.st_mode & 077) != 0) {
    return failed_precondition(
        fmt::format("{} can be read by others than its owner: chmod 600 it, or remove it and a "
                    "new one is made",
                    path));
  }
  text.resize(static_cast<std::size_t>(size));
  text.erase(std::min(text.find_last_not_of(" \t\r\n") + 1, text.size()));
  const bool visible =
      std::all_of(text.begin(), text.end(), [](char c) { return c > 32 && c < 127; });
  if (text.size() < kTokenBytesMin || !visible) {
    return failed_precondition(
        fmt::format("{} is no token (one line of at least {} visible characters): remove it and a "
                    "new one is made",
                    path, kTokenBytesMin));
  }
  return text;
}

}  // namespace sluice::admin
