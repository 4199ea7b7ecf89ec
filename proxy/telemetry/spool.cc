#include "proxy/telemetry/spool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

#include "proxy/base/encoding.h"
#include "proxy/base/log.h"
#include "proxy/telemetry/codec.h"

namespace sluice::telemetry {

namespace {

constexpr std::uint64_t kStateMagic = 0x31545350'53494c53;    // "SLISPST1"
constexpr std::uint64_t kSegmentMagic = 0x31474553'53494c53;  // "SLISSEG1"
constexpr std::string_view kSegmentSuffix = ".seg";
constexpr std::size_t kStateBytes = 4096;
constexpr std::size_t kReadBytes = 1024 * 1024;
// Sequences skipped after a power failure: more than a proxy sends between two of them.
constexpr std::uint64_t kBootGap = std::uint64_t{1} << 32;
// An acknowledged segment of at least this size is freed although it is the newest.
constexpr std::uint64_t kFreeNewestBytes = 256 * 1024;

// At the head of each segment.
struct SegmentHead {
  std::uint64_t magic = kSegmentMagic;
  std::uint64_t codec = kCodecVersion;
  std::uint64_t epoch = 0;
  std::uint64_t first = 0;
  std::uint64_t previous_last =
      0;  // the sequence before; less than first - 1 where some were skipped
};

absl::Status errno_status(std::string_view what, const std::string& path) {
  return unavailable(fmt::format("{} {}: {}", what, path, std::strerror(errno)));
}

// Changes whenever the machine starts; empty if it cannot be told.
std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

std::uint64_t new_epoch() {
  const std::string bytes = random_bytes(sizeof(std::uint64_t));
  std::uint64_t epoch = 0;
  std::memcpy(&epoch, bytes.data(), sizeof(epoch));
  return std::max<std::uint64_t>(epoch >> 1, 1);  // fits a signed column
}

// All of the file from `offset`, at most `size` bytes.
std::string read_at(int fd, std::uint64_t offset, std::size_t size) {
  std::string bytes(size, '\0');
  std::size_t got = 0;
  while (got < size) {
    const ssize_t n = ::pread(fd, bytes.data() + got, size - got, static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      break;
    }
    got += static_cast<std::size_t>(n);
  }
  bytes.resize(got);
  return bytes;
}

}  // namespace

// The mapped file of state. Stores reach the file in program order as far as a killed process goes.
struct Spool::State {
  std::atomic<std::uint64_t> magic;
  std::atomic<std::uint64_t> epoch;
  std::atomic<std::uint64_t> acknowledged;
  std::atomic<std::uint64_t> highest;  // sequence that was ever durable
  std::atomic<std::uint64_t> dropped;
  std::atomic<std::uint64_t> told;     // of dropped, in records that are durable
  std::atomic<std::uint64_t> telling;  // by the record telling_sequence, if that is durable
  std::atomic<std::uint64_t> telling_sequence;  // 0: none
  std::array<char, 64> boot;
};

Spool::Spool(Options options) : options_(std::move(options)) {
  if (options_.write == nullptr) {
    options_.write = ::write;
  }
}

Spool::~Spool() {
  close_segment();
  if (state_ != nullptr) {
    ::munmap(state_, kStateBytes);
  }
  if (state_fd_ >= 0) {
    ::close(state_fd_);
  }
}

absl::StatusOr<std::unique_ptr<Spool>> Spool::open(Options options) {
  std::unique_ptr<Spool> spool(new Spool(std::move(options)));
  std::error_code error;
  std::filesystem::create_directories(spool->options_.directory, error);
  if (error) {
    return unavailable(
        fmt::format("cannot make {}: {}", spool->options_.directory, error.message()));
  }
  SLUICE_RETURN_IF_ERROR(spool->map_state());
  spool->recover();
  return spool;
}

absl::Status Spool::map_state() {
  const std::string path = options_.directory + "/state";
  state_fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (state_fd_ < 0) {
    return errno_status("cannot open", path);
  }
  if (::flock(state_fd_, LOCK_EX | LOCK_NB) != 0) {
    return failed_precondition(fmt::format(
        "{} is in use by another process; give each proxy its own data directory", path));
  }
  if (const int code = ::posix_fallocate(state_fd_, 0, kStateBytes); code != 0) {
    errno = code;
    return errno_status("cannot reserve space for", path);
  }
  void* memory = ::mmap(nullptr, kStateBytes, PROT_READ | PROT_WRITE, MAP_SHARED, state_fd_, 0);
  if (memory == MAP_FAILED) {
    return errno_status("cannot map", path);
  }
  state_ = static_cast<State*>(memory);
  return absl::OkStatus();
}

void Spool::set_aside(const std::string& path, std::string_view why) {
  log::warning("the spool's segment {} {}; it is kept as {}.damaged", path, why, path);
  std::error_code error;
  std::filesystem::rename(path, path + ".damaged", error);
}

void Spool::recover() {
  const bool known = state_->magic == kStateMagic;
  if (!known) {
    std::memset(static_cast<void*>(state_), 0, kStateBytes);
  }
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(options_.directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(kSegmentSuffix)) {
      names.push_back(name);
    }
  }
  // Names are numbers of one width, so this is the order of sequences.
  std::sort(names.begin(), names.end());
  bool cut = false;
  for (const std::string& name : names) {
    if (recover_segment(name, cut)) {
      bytes_ += segments_.back().bytes;
    }
  }
  if (state_->epoch == 0) {
    state_->epoch = new_epoch();
  }
  last_ = std::max<std::uint64_t>(state_->highest, segments_.empty() ? 0 : segments_.back().last);
  next_ = last_ + 1;
  const std::string boot = boot_id().substr(0, sizeof(State::boot) - 1);
  if (known && boot != state_->boot.data()) {
    // The end of the spool may have been sent and then lost by the disk; its numbers are not
    // reused.
    next_ += kBootGap;
  }
  if (next_ > state_->highest + 1) {
    // So that the gap holds even if nothing is written before the next start.
    state_->highest = next_ - 1;
  }
  state_->boot.fill('\0');
  std::memcpy(state_->boot.data(), boot.data(), boot.size());
  if (state_->telling_sequence != 0 && state_->telling_sequence <= last_) {
    state_->told.store(state_->telling);
  }
  state_->telling_sequence = 0;
  state_->magic = kStateMagic;
  drop_acknowledged();
}

// `cut`: the segment before was shortened, and how much it lost can be told from this one's head.
bool Spool::recover_segment(const std::string& name, bool& cut) {
  const std::string path = options_.directory + "/" + name;
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    log::warning("cannot open the spool's segment {}: {}", path, std::strerror(errno));
    return false;
  }
  SegmentHead head;
  const std::string bytes = read_at(fd, 0, sizeof(head));
  if (bytes.size() < sizeof(head)) {
    // The process died while it made it: nothing is in it.
    ::close(fd);
    ::unlink(path.c_str());
    return false;
  }
  std::memcpy(&head, bytes.data(), sizeof(head));
  if (state_->epoch == 0) {
    state_->epoch = head.epoch;
  }
  const bool ours = head.magic == kSegmentMagic && head.codec == kCodecVersion &&
                    head.epoch == state_->epoch &&
                    (segments_.empty() || head.first > segments_.back().last);
  if (!ours) {
    ::close(fd);
    set_aside(path, "was written by another version or for another data directory");
    return false;
  }
  if (const bool lost = cut && !segments_.empty(); lost) {
    const std::uint64_t from = std::max<std::uint64_t>(segments_.back().last, state_->acknowledged);
    state_->dropped += head.previous_last > from ? head.previous_last - from : 0;
  }
  cut = false;
  Segment segment{path, head.first, head.first - 1, sizeof(head)};
  while (true) {
    const std::string chunk = read_at(fd, segment.bytes, kReadBytes);
    std::string_view left = chunk;
    while (const std::optional<std::string_view> body = take_frame(left)) {
      const std::optional<NumberedRecord> record = decode(*body);
      segment.last = record ? record->sequence : segment.last + 1;
    }
    const std::size_t used = chunk.size() - left.size();
    segment.bytes += used;
    if (used == 0) {
      // What is behind is a torn write, or damage; either way it cannot be read.
      cut = !left.empty();
      if (cut && ::ftruncate(fd, static_cast<off_t>(segment.bytes)) != 0) {
        log::warning("cannot cut {}: {}", path, std::strerror(errno));
      }
      break;
    }
  }
  ::close(fd);
  if (segment.last < segment.first) {
    ::unlink(path.c_str());
    return false;
  }
  segments_.push_back(std::move(segment));
  return true;
}

void Spool::close_segment() {
  if (fd_ >= 0) {
    ::close(fd_);
    fd_ = -1;
  }
  tail_dirty_ = false;
}

absl::Status Spool::open_segment() {
  close_segment();
  Segment segment;
  segment.path = fmt::format("{}/{:020}{}", options_.directory, next_, kSegmentSuffix);
  segment.first = next_;
  segment.last = next_ - 1;
  segment.bytes = sizeof(SegmentHead);
  fd_ = ::open(segment.path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  if (fd_ < 0) {
    return errno_status("cannot make", segment.path);
  }
  SegmentHead head;
  head.epoch = state_->epoch;
  head.first = next_;
  head.previous_last = last_;
  if (options_.write(fd_, &head, sizeof(head)) != static_cast<ssize_t>(sizeof(head))) {
    const absl::Status status = errno_status("cannot write", segment.path);
    close_segment();
    ::unlink(segment.path.c_str());
    return status;
  }
  bytes_ += segment.bytes;
  segments_.push_back(std::move(segment));
  return absl::OkStatus();
}

absl::Status Spool::cut_tail() {
  if (!tail_dirty_) {
    return absl::OkStatus();
  }
  const Segment& newest = segments_.back();
  if (::ftruncate(fd_, static_cast<off_t>(newest.bytes)) != 0) {
    return errno_status("cannot cut", newest.path);
  }
  tail_dirty_ = false;
  return absl::OkStatus();
}

// Returns how many whole frames were written; `ends` are their ends in `frames`.
std::size_t Spool::write_frames(const std::string& frames, const std::vector<std::size_t>& ends) {
  std::size_t written = 0;
  while (written < frames.size()) {
    const ssize_t n = options_.write(fd_, frames.data() + written, frames.size() - written);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      health_ = errno_status("cannot write", segments_.back().path);
      break;
    }
    written += static_cast<std::size_t>(n);
  }
  const auto whole =
      static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), written) - ends.begin());
  const std::size_t kept = whole == 0 ? 0 : ends[whole - 1];
  segments_.back().bytes += kept;
  bytes_ += kept;
  tail_dirty_ = written > kept;
  if (const absl::Status status = cut_tail(); !status.ok()) {
    health_ = status;
  }
  return whole;
}

RecordSink::Taken Spool::append(const std::vector<Record>& records) {
  const std::lock_guard lock(mutex_);
  if (records.empty()) {
    return {0, absl::OkStatus()};
  }
  health_ = cut_tail();
  if (health_.ok() && (fd_ < 0 || segments_.back().bytes >= options_.segment_bytes)) {
    health_ = open_segment();
  }
  if (!health_.ok()) {
    return {0, health_};
  }
  const std::uint64_t dropped = state_->dropped;
  std::string frames;
  std::vector<std::size_t> ends;
  for (const Record& record : records) {
    NumberedRecord numbered;
    numbered.epoch = state_->epoch;
    numbered.sequence = next_ + ends.size();
    numbered.dropped_before = ends.empty() ? dropped - state_->told : 0;
    numbered.record = record;
    append_frame(numbered, frames);
    if (bytes_ + frames.size() > options_.bytes_max) {
      frames.resize(ends.empty() ? 0 : ends.back());
      health_ = resource_exhausted(fmt::format(
          "the spool {} holds {} bytes of records that the control plane has not taken; it is full",
          options_.directory, bytes_));
      break;
    }
    ends.push_back(frames.size());
  }
  if (ends.empty()) {
    return {0, health_};
  }
  // As for accounts: a note before, the record, and the note taken back.
  if (dropped != state_->told) {
    state_->telling = dropped;
    state_->telling_sequence = next_;
  }
  const std::size_t count = write_frames(frames, ends);
  if (count > 0) {
    next_ += count;
    last_ = next_ - 1;
    segments_.back().last = last_;
    state_->highest = last_;
    if (state_->telling_sequence != 0) {
      state_->told.store(state_->telling);
    }
  }
  state_->telling_sequence = 0;
  return {count, health_};
}

void Spool::read_segment(Segment& segment, std::uint64_t after, std::size_t records_max,
                         std::vector<NumberedRecord>& out) {
  const int fd = ::open(segment.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    log::error("cannot read the spool's segment {}: {}", segment.path, std::strerror(errno));
    return;
  }
  const bool resume = cursor_.segment_first == segment.first && cursor_.sequence <= after;
  std::uint64_t offset = resume ? cursor_.offset : sizeof(SegmentHead);
  std::uint64_t seen = resume ? cursor_.sequence : segment.first - 1;
  bool damaged = false;
  while (out.size() < records_max && offset < segment.bytes && !damaged) {
    const std::string chunk =
        read_at(fd, offset, std::min<std::uint64_t>(kReadBytes, segment.bytes - offset));
    std::string_view left = chunk;
    while (out.size() < records_max) {
      const std::optional<std::string_view> body = take_frame(left);
      if (!body) {
        break;
      }
      std::optional<NumberedRecord> record = decode(*body);
      if (!record) {
        damaged = true;
        break;
      }
      seen = record->sequence;
      if (seen > after) {
        record->epoch = state_->epoch;
        out.push_back(*std::move(record));
      }
    }
    const std::size_t used = chunk.size() - left.size();
    damaged = damaged || used == 0;
    offset += used;
  }
  ::close(fd);
  if (damaged) {
    const std::uint64_t lost = segment.last - seen;
    log::error("the spool's segment {} is damaged: {} records are lost", segment.path, lost);
    state_->dropped += lost;
    if (&segment == &segments_.back()) {
      close_segment();  // what is appended behind the damage could not be read
    }
    if (::truncate(segment.path.c_str(), static_cast<off_t>(offset)) != 0) {
      log::warning("cannot cut {}: {}", segment.path, std::strerror(errno));
    }
    segment.last = seen;
    bytes_ -= segment.bytes - offset;
    segment.bytes = offset;
  }
  cursor_ = {seen, segment.first, offset};
}

std::vector<NumberedRecord> Spool::read(std::uint64_t after, std::size_t records_max) {
  const std::lock_guard lock(mutex_);
  after = std::max<std::uint64_t>(after, state_->acknowledged);
  std::vector<NumberedRecord> out;
  for (Segment& segment : segments_) {
    if (out.size() >= records_max) {
      break;
    }
    if (segment.last > after && segment.last >= segment.first) {
      read_segment(segment, after, records_max, out);
    }
  }
  return out;
}

void Spool::drop_acknowledged() {
  while (!segments_.empty() && segments_.front().last <= state_->acknowledged) {
    const bool newest = segments_.size() == 1 && fd_ >= 0;
    if (newest) {
      if (segments_.front().bytes < kFreeNewestBytes) {
        return;
      }
      close_segment();
    }
    ::unlink(segments_.front().path.c_str());
    bytes_ -= segments_.front().bytes;
    segments_.pop_front();
  }
}

void Spool::acknowledge(std::uint64_t epoch, std::uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  sequence = std::min(sequence, last_);
  if (epoch != state_->epoch || sequence <= state_->acknowledged) {
    return;
  }
  state_->acknowledged = sequence;
  drop_acknowledged();
}

std::uint64_t Spool::epoch() const {
  const std::lock_guard lock(mutex_);
  return state_->epoch;
}

std::uint64_t Spool::last_sequence() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

std::uint64_t Spool::next_sequence() const {
  const std::lock_guard lock(mutex_);
  return next_;
}

void Spool::count_dropped(std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  state_->dropped += count;
}

std::uint64_t Spool::dropped() const {
  const std::lock_guard lock(mutex_);
  return state_->dropped;
}

std::uint64_t Spool::acknowledged() const {
  const std::lock_guard lock(mutex_);
  return state_->acknowledged;
}

std::uint64_t Spool::waiting() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t waiting = 0;
  for (const Segment& segment : segments_) {
    const std::uint64_t from = std::max<std::uint64_t>(segment.first - 1, state_->acknowledged);
    waiting += segment.last > from ? segment.last - from : 0;
  }
  return waiting;
}

std::uint64_t Spool::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

absl::Status Spool::health() const {
  const std::lock_guard lock(mutex_);
  return health_;
}

}  // namespace sluice::telemetry
