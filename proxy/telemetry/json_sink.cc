#include "proxy/telemetry/json_sink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/base/log.h"
#include "proxy/telemetry/json_line.h"
#include "proxy/telemetry/names.h"

namespace sluice::telemetry {
namespace {

constexpr std::size_t kTailBytes = 128 * 1024;  // more than the longest line

// The end of a file, at most kTailBytes.
std::string tail_of(int fd, std::uint64_t size) {
  std::string bytes(static_cast<std::size_t>(std::min<std::uint64_t>(size, kTailBytes)), '\0');
  const ssize_t got =
      ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(size - bytes.size()));
  bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return bytes;
}

// Of the last whole line; 0 where there is none.
std::uint64_t last_sequence_in(std::string_view tail) {
  const std::size_t end = tail.rfind('\n');
  if (end == std::string_view::npos || end == 0) {
    return 0;
  }
  const std::size_t before = tail.rfind('\n', end - 1);
  const std::size_t begin = before == std::string_view::npos ? 0 : before + 1;
  const std::string_view line = tail.substr(begin, end - begin);
  boost::json::error_code error;
  const boost::json::value value =
      boost::json::parse(boost::json::string_view(line.data(), line.size()), error);
  if (error || !value.is_object()) {
    return 0;
  }
  const boost::json::value* sequence = value.as_object().if_contains("sequence");
  return sequence == nullptr ? 0 : sequence->to_number<std::uint64_t>(error);
}

std::uint64_t last_sequence_in_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (fd < 0 || ::fstat(fd, &info) != 0) {
    return 0;
  }
  const std::uint64_t last =
      last_sequence_in(tail_of(fd, static_cast<std::uint64_t>(info.st_size)));
  ::close(fd);
  return last;
}

}  // namespace

std::string to_json_line(const NumberedRecord& numbered) {
  const Record& r = numbered.record;
  const Facts& f = r.facts;
  const Counts& c = r.counts;
  JsonLine line;
  line.add("kind", "record")
      .add("epoch", numbered.epoch)
      .add("sequence", numbered.sequence)
      .add("part", part_name(r.part))
      .add("connection_id", f.connection_id)
      .add("listener", f.listener)
      .add("api", f.api)
      .add("api_version", f.api_version)
      .add("application", f.application)
      .add("plan", f.plan)
      .add("key_type", key_type_name(f.key_type))
      .add("user", f.user)
      .add("client_address", f.client_address)
      .add("user_agent", f.user_agent)
      .add("topic", f.topic)
      .add("endpoint", f.endpoint)
      .add("begin", f.begin)
      .add("end", r.end)
      .add("handshake_us", f.handshake_us)
      .add("status", r.status)
      .add("code", r.code)
      .add("close_code", r.close_code)
      .add("close_side", close_side_name(r.close_side))
      .add("reason", r.reason)
      .add("messages_up", c.messages_up)
      .add("messages_down", c.messages_down)
      .add("bytes_up", c.bytes_up)
      .add("bytes_down", c.bytes_down)
      .add("throttled_up", c.throttled_up)
      .add("throttled_down", c.throttled_down)
      .add("dropped_before", numbered.dropped_before);
  return std::move(line).finish();
}

absl::StatusOr<std::unique_ptr<JsonSink>> JsonSink::open_file(std::string path,
                                                              std::uint64_t bytes_max) {
  std::unique_ptr<JsonSink> sink(new JsonSink(std::move(path), bytes_max));
  SLUICE_RETURN_IF_ERROR(sink->open());
  if (::flock(sink->fd_, LOCK_EX | LOCK_NB) != 0) {
    return failed_precondition(fmt::format(
        "{} is in use by another process; give each proxy its own data directory", sink->path_));
  }
  const std::string tail = tail_of(sink->fd_, sink->bytes_);
  SLUICE_RETURN_IF_ERROR(sink->cut_torn_line(tail));
  sink->last_ = std::max(last_sequence_in(tail), last_sequence_in_file(sink->path_ + ".1"));
  return sink;
}

absl::StatusOr<std::unique_ptr<JsonSink>> JsonSink::to_stdout() {
  std::unique_ptr<JsonSink> sink(new JsonSink("", 0));
  SLUICE_ASSIGN_OR_RETURN(sink->out_, LineWriter::open("-"));
  return sink;
}

JsonSink::~JsonSink() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

absl::Status JsonSink::open() {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  struct stat info {};
  if (fd_ < 0 || ::fstat(fd_, &info) != 0) {
    return unavailable(fmt::format("cannot open {}: {}", path_, std::strerror(errno)));
  }
  bytes_ = static_cast<std::uint64_t>(info.st_size);
  return absl::OkStatus();
}

absl::Status JsonSink::cut_torn_line(std::string_view tail) {
  const std::size_t end = tail.rfind('\n');
  const std::size_t whole = end == std::string_view::npos ? 0 : end + 1;
  return cut(bytes_ - (tail.size() - whole));
}

absl::Status JsonSink::cut(std::uint64_t size) {
  if (size != bytes_ && ::ftruncate(fd_, static_cast<off_t>(size)) != 0) {
    return unavailable(fmt::format("cannot cut {}: {}", path_, std::strerror(errno)));
  }
  bytes_ = size;
  return absl::OkStatus();
}

void JsonSink::rotate_if_full() {
  if (bytes_ < bytes_max_) {
    return;
  }
  const int old = fd_;
  if (::rename(path_.c_str(), (path_ + ".1").c_str()) != 0) {
    log::error("cannot rotate {}: {}", path_, std::strerror(errno));
    return;
  }
  const std::uint64_t old_bytes = bytes_;
  if (const absl::Status status = open(); !status.ok()) {
    log::error("the records go on in {}.1: {}", path_, message_of(status));
    fd_ = old;
    bytes_ = old_bytes;
    return;
  }
  (void)::flock(fd_, LOCK_EX | LOCK_NB);
  ::close(old);
}

std::size_t JsonSink::write_lines(const std::string& lines, const std::vector<std::size_t>& ends,
                                  absl::Status& status) {
  std::size_t written = 0;
  while (written < lines.size()) {
    const ssize_t n = ::write(fd_, lines.data() + written, lines.size() - written);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      status = unavailable(fmt::format("cannot write {}: {}", path_, std::strerror(errno)));
      break;
    }
    written += static_cast<std::size_t>(n);
  }
  const auto whole =
      static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), written) - ends.begin());
  const std::uint64_t good = bytes_ + (whole == 0 ? 0 : ends[whole - 1]);
  bytes_ += written;
  if (const absl::Status cut_status = cut(good); !cut_status.ok()) {
    status = cut_status;
  }
  return whole;
}

RecordSink::Taken JsonSink::append(const std::vector<Record>& records) {
  std::string lines;
  std::vector<std::size_t> ends;
  absl::Status status;
  std::uint64_t dropped = 0;
  {
    const std::lock_guard lock(mutex_);
    dropped = dropped_;
  }
  for (const Record& record : records) {
    NumberedRecord numbered;
    numbered.epoch = epoch();
    numbered.sequence = last_ + ends.size() + 1;
    numbered.dropped_before = ends.empty() ? dropped - told_ : 0;
    numbered.record = record;
    const std::string line = to_json_line(numbered);
    if (out_ != nullptr && !out_->add(line)) {
      status = resource_exhausted("nobody reads the records from stdout");
      break;
    }
    lines += line;
    ends.push_back(lines.size());
  }
  std::size_t count = ends.size();
  if (out_ != nullptr) {
    if (absl::Status flushed = out_->flush(); !flushed.ok()) {
      status = flushed;
    }
  } else {
    rotate_if_full();
    count = write_lines(lines, ends, status);
  }
  const std::lock_guard lock(mutex_);
  last_ += count;
  told_ = count > 0 ? dropped : told_;
  return {count, status};
}

std::uint64_t JsonSink::last_sequence() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

void JsonSink::count_dropped(std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  dropped_ += count;
}

std::uint64_t JsonSink::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

}  // namespace sluice::telemetry
