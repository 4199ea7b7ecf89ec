#include "proxy/telemetry/line_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "proxy/base/limits.h"

namespace sluice::telemetry {

absl::StatusOr<std::unique_ptr<LineWriter>> LineWriter::open(const std::string& path) {
  const bool own = path != "-";
  int fd = STDOUT_FILENO;
  if (own) {
    // Without O_NONBLOCK a fifo without a reader would hold up the open itself.
    fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0640);
    if (fd < 0) {
      return unavailable(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
    }
  }
  struct stat info {};
  const bool regular = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  return std::unique_ptr<LineWriter>(new LineWriter(fd, own, !regular));
}

LineWriter::~LineWriter() {
  (void)flush();
  if (own_) {
    ::close(fd_);
  }
}

bool LineWriter::add(std::string_view line) {
  if (waiting() + line.size() > limits::kLineBufferBytesMax) {
    return false;
  }
  buffer_ += line;
  return true;
}

absl::Status LineWriter::flush() {
  absl::Status status;
  while (begin_ < buffer_.size()) {
    std::size_t size = buffer_.size() - begin_;
    if (may_block_) {
      // A pipe that polls writable takes PIPE_BUF bytes without blocking, and no more is promised.
      pollfd poll{fd_, POLLOUT, 0};
      if (::poll(&poll, 1, 0) <= 0 || (poll.revents & POLLOUT) == 0) {
        break;
      }
      size = std::min<std::size_t>(size, PIPE_BUF);
      // Whole lines where they fit, since another writer may share the pipe.
      const std::size_t end = std::string_view(buffer_).substr(begin_, size).rfind('\n');
      size = end == std::string_view::npos ? size : end + 1;
    }
    const ssize_t n = ::write(fd_, buffer_.data() + begin_, size);
    if (n > 0) {
      begin_ += static_cast<std::size_t>(n);
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else {
      if (errno != EAGAIN) {
        status = unavailable(fmt::format("cannot write lines: {}", std::strerror(errno)));
      }
      break;
    }
  }
  if (begin_ == buffer_.size()) {
    buffer_.clear();
    begin_ = 0;
  } else if (begin_ > buffer_.size() / 2) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  return status;
}

}  // namespace sluice::telemetry
