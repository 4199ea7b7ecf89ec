#include "proxy/telemetry/account.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "proxy/base/check.h"
#include "proxy/base/log.h"

namespace sluice::telemetry {

namespace {

constexpr std::uint64_t kMagic = 0x33434341'43494c53;  // "SLICACC3"
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kTextBytes = 448;
constexpr std::size_t kReasonBytes = 64;

// An exchange's life as the slot tells it; written by the worker, then by the recorder.
// kLeft: an earlier process left it live.
enum SlotState : std::uint32_t { kFree = 0, kLive = 1, kEnded = 2, kLeft = 3 };

// Packs texts one behind the other, each with its length in a byte; what does not fit is cut.
class TextWriter {
 public:
  explicit TextWriter(std::array<char, kTextBytes>& area) : area_(area) {}

  // `reserved`: bytes kept for the texts behind it.
  void put(std::string_view text, std::size_t reserved) {
    const std::size_t room = kTextBytes - used_ - 1 - reserved;
    const std::size_t size = std::min({text.size(), room, std::size_t{255}});
    area_[used_++] = static_cast<char>(static_cast<unsigned char>(size));
    std::memcpy(area_.data() + used_, text.data(), size);
    used_ += size;
  }

 private:
  std::array<char, kTextBytes>& area_;
  std::size_t used_ = 0;
};

class TextReader {
 public:
  explicit TextReader(const std::array<char, kTextBytes>& area) : area_(area) {}

  // Empty texts where the area is damaged.
  std::string get() {
    if (used_ >= kTextBytes) {
      return "";
    }
    const auto size = static_cast<unsigned char>(area_[used_++]);
    if (size > kTextBytes - used_) {
      used_ = kTextBytes;
      return "";
    }
    std::string text(area_.data() + used_, size);
    used_ += size;
    return text;
  }

 private:
  const std::array<char, kTextBytes>& area_;
  std::size_t used_ = 0;
};

}  // namespace

struct AtomicCounts {
  std::array<std::atomic<std::uint64_t>, 6> values;

  void store(const Counts& c) {
    const std::array from = {c.messages_up, c.messages_down, c.bytes_up,
                             c.bytes_down,  c.throttled_up,  c.throttled_down};
    for (std::size_t i = 0; i < from.size(); ++i) {
      values[i].store(from[i], std::memory_order_relaxed);
    }
  }
  Counts load() const {
    const auto at = [this](std::size_t i) { return values[i].load(std::memory_order_relaxed); };
    return {at(0), at(1), at(2), at(3), at(4), at(5)};
  }
};

// What follows is plain memory that outlives the process, so its layout is the file's format: a
// change here is a new kMagic.

// The recorder's line of a slot.
struct alignas(64) Ledger {
  AtomicCounts covered;                      // by parts that are durable
  std::atomic<std::uint64_t> part_sequence;  // of the part under way; 0: none
  std::atomic<std::uint32_t> state;          // SlotState
  std::atomic<std::uint32_t> part_ends;      // the part under way is the last
};
static_assert(sizeof(Ledger) == 64);

struct alignas(64) PartNote {
  AtomicCounts counts;  // that the part under way covers

  // How the exchange ended; valid in kEnded.
  std::int64_t end_ms;
  std::int32_t status;
  std::int32_t code;
  std::uint16_t close_code;
  CloseSide close_side;
  std::uint8_t reason_size;
  std::array<char, kReasonBytes> reason;

  void write_ending(const Ending& ending, Wall now);
};

struct alignas(64) FactsNote {
  std::int64_t begin_ms = 0;
  std::uint64_t handshake_us = 0;
  model::KeyType key_type{};
  std::array<char, kTextBytes> texts{};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// Whole pages of each kind, so that the ones that are used bring no others into memory.
struct AccountTable::Group {
  static constexpr std::size_t kSlots = 64;
  std::array<Account, kSlots> accounts;
  std::array<Ledger, kSlots> ledgers;
  std::array<PartNote, kSlots> notes;
  std::array<FactsNote, kSlots> facts;
};

struct AccountTable::Slot {
  Account& account;
  Ledger& ledger;
  PartNote& note;
};

namespace {

// Where a place of the mapping lies in the file.
off_t file_offset(const void* memory, const void* place) {
  return static_cast<const char*>(place) - static_cast<const char*>(memory);
}

FactsNote to_note(const Facts& facts) {
  FactsNote note;
  note.begin_ms = to_ms(facts.begin);
  note.handshake_us = facts.handshake_us;
  note.key_type = facts.key_type;
  TextWriter writer(note.texts);
  const std::array<std::string_view, 12> all = {
      facts.connection_id, facts.listener, facts.api,      facts.api_version,
      facts.application,   facts.plan,     facts.user,     facts.client_address,
      facts.token_id,      facts.topic,    facts.endpoint, facts.user_agent};
  for (std::size_t i = 0; i < all.size(); ++i) {
    writer.put(all[i], all.size() - 1 - i);
  }
  return note;
}

Facts from_note(const FactsNote& note) {
  Facts facts;
  TextReader reader(note.texts);
  for (std::string* text : {&facts.connection_id, &facts.listener, &facts.api, &facts.api_version,
                            &facts.application, &facts.plan, &facts.user, &facts.client_address,
                            &facts.token_id, &facts.topic, &facts.endpoint, &facts.user_agent}) {
    *text = reader.get();
  }
  facts.begin = wall_from_ms(note.begin_ms);
  facts.handshake_us = note.handshake_us;
  facts.key_type = note.key_type;
  return facts;
}

}  // namespace

void PartNote::write_ending(const Ending& ending, Wall now) {
  end_ms = to_ms(now);
  status = ending.status;
  code = ending.refusal_code.value_or(0);
  close_code = ending.close_code;
  close_side = ending.close_side;
  reason_size = static_cast<std::uint8_t>(std::min(ending.reason.size(), kReasonBytes));
  std::memcpy(reason.data(), ending.reason.data(), reason_size);
}

struct AccountTable::Header {
  std::uint64_t magic;
  std::uint64_t group_bytes;
  std::uint64_t slots_max;
  std::atomic<std::int64_t> heartbeat_ms;
  std::array<char, 4096 - 32> unused;
};

struct AccountTable::Mapping {
  int fd = -1;
  void* memory = nullptr;
  std::size_t size = 0;

  ~Mapping() {
    if (memory != nullptr) {
      ::munmap(memory, size);
    }
    if (fd >= 0) {
      ::close(fd);
    }
  }
};

namespace {

absl::Status file_error(std::string_view what, const std::string& path) {
  return unavailable(fmt::format("{} {}: {}", what, path, std::strerror(errno)));
}

// A file of `size` bytes whose blocks exist, since a store to a hole on a full disk is a SIGBUS.
absl::StatusOr<int> open_slot_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return file_error("cannot open", path);
  }
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return failed_precondition(fmt::format(
        "{} is in use by another process; give each proxy its own data directory", path));
  }
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AccountTable>> AccountTable::open_file(const std::string& path,
                                                                      std::size_t slots_max,
                                                                      std::uint64_t last_sequence) {
  auto mapping = std::make_unique<Mapping>();
  std::size_t slots = std::max<std::size_t>(slots_max, 1);
  if (!path.empty()) {
    SLUICE_ASSIGN_OR_RETURN(mapping->fd, open_slot_file(path));
    struct stat info {};
    if (::fstat(mapping->fd, &info) != 0) {
      return file_error("cannot read", path);
    }
    if (info.st_size > 0) {
      // Only the fields that say what it is.
      std::array<std::uint64_t, 3> head{};
      const ssize_t got = ::pread(mapping->fd, head.data(), sizeof(head), 0);
      const bool whole = got == static_cast<ssize_t>(sizeof(head));
      // A file whose first process died while it made it has no magic yet, and no slots.
      const bool unfinished = whole && head[0] == 0;
      if (!unfinished) {
        if (!whole || head[0] != kMagic || head[1] != sizeof(Group)) {
          return failed_precondition(fmt::format(
              "{} was written by another version of the proxy; its live counts cannot be read. "
              "Let that version end cleanly first, or move the file away",
              path));
        }
        slots = std::max<std::size_t>(slots, head[2]);
      }
    }
  }
  const std::size_t groups = (slots + Group::kSlots - 1) / Group::kSlots;
  mapping->size = sizeof(Header) + groups * sizeof(Group);
  if (mapping->fd >= 0) {
    if (const int error = ::posix_fallocate(mapping->fd, 0, static_cast<off_t>(mapping->size));
        error != 0) {
      errno = error;
      return file_error(fmt::format("cannot reserve {} bytes for", mapping->size), path);
    }
  }
  const int flags = mapping->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  void* memory = ::mmap(nullptr, mapping->size, PROT_READ | PROT_WRITE, flags, mapping->fd, 0);
  if (memory == MAP_FAILED) {
    return file_error("cannot map", path.empty() ? "memory for accounts" : path);
  }
  mapping->memory = memory;
  std::unique_ptr<AccountTable> table(new AccountTable(std::move(mapping), slots));
  table->take_over(last_sequence);
  return table;
}

AccountTable::AccountTable(std::unique_ptr<Mapping> mapping, std::size_t slots_max)
    : mapping_(std::move(mapping)),
      header_(static_cast<Header*>(mapping_->memory)),
      groups_(reinterpret_cast<Group*>(static_cast<char*>(mapping_->memory) + sizeof(Header))),
      slots_max_(slots_max),
      ended_(kNone) {}

AccountTable::~AccountTable() = default;

AccountTable::Slot AccountTable::slot(std::uint32_t index) const {
  Group& group = groups_[index / Group::kSlots];
  const std::size_t i = index % Group::kSlots;
  return {group.accounts[i], group.ledgers[i], group.notes[i]};
}

bool AccountTable::write_facts(std::uint32_t index, const Facts& facts) {
  FactsNote& place = groups_[index / Group::kSlots].facts[index % Group::kSlots];
  const FactsNote note = to_note(facts);
  if (mapping_->fd < 0) {
    place = note;
    return true;
  }
  return ::pwrite(mapping_->fd, &note, sizeof(note), file_offset(mapping_->memory, &place)) ==
         static_cast<ssize_t>(sizeof(note));
}

Facts AccountTable::read_facts(std::uint32_t index) const {
  const FactsNote& place = groups_[index / Group::kSlots].facts[index % Group::kSlots];
  if (mapping_->fd < 0) {
    return from_note(place);
  }
  FactsNote note;  // stays empty where the file cannot be read: the counts are told all the same
  (void)!::pread(mapping_->fd, &note, sizeof(note), file_offset(mapping_->memory, &place));
  return from_note(note);
}

void AccountTable::take_over(std::uint64_t last_sequence) {
  const std::size_t before = header_->magic == kMagic ? header_->slots_max : 0;
  left_at_ms_ = header_->heartbeat_ms.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < before; ++i) {
    const Slot s = slot(static_cast<std::uint32_t>(i));
    Ledger& ledger = s.ledger;
    const std::uint32_t state = ledger.state.load(std::memory_order_acquire);
    if (state != kLive && state != kEnded && state != kLeft) {
      continue;
    }
    high_water_.store(static_cast<std::uint32_t>(i) + 1, std::memory_order_relaxed);
    const std::uint64_t sequence = ledger.part_sequence.load(std::memory_order_acquire);
    const bool durable = sequence != 0 && sequence <= last_sequence;
    if (durable) {
      ledger.covered.store(s.note.counts.load());
    }
    if (durable && ledger.part_ends.load(std::memory_order_relaxed) != 0) {
      ledger.state.store(kFree, std::memory_order_release);
    } else {
      left_behind_.push_back(static_cast<std::uint32_t>(i));
      if (state == kLive) {
        ledger.state.store(kLeft, std::memory_order_release);
      }
    }
    ledger.part_sequence.store(0, std::memory_order_release);
  }
  header_->group_bytes = sizeof(Group);
  header_->slots_max = slots_max_;
  header_->magic = kMagic;
  const std::uint32_t high_water = high_water_.load(std::memory_order_relaxed);
  for (std::uint32_t i = high_water; i-- > 0;) {
    if (slot(i).ledger.state.load(std::memory_order_relaxed) == kFree) {
      free_.push_back(i);
    }
  }
  ended_next_.resize(slots_max_, kNone);
  live_.store(left_behind_.size(), std::memory_order_relaxed);
}

Account* AccountTable::open(const Facts& facts) {
  std::uint32_t index = kNone;
  {
    const std::lock_guard lock(mutex_);
    const std::uint32_t high_water = high_water_.load(std::memory_order_relaxed);
    if (!free_.empty()) {
      index = free_.back();
      free_.pop_back();
    } else if (high_water < slots_max_) {
      index = high_water;
      high_water_.store(high_water + 1, std::memory_order_release);
    } else {
      exhausted_.fetch_add(1, std::memory_order_relaxed);
      return nullptr;
    }
  }
  if (!write_facts(index, facts)) {
    exhausted_.fetch_add(1, std::memory_order_relaxed);
    const std::lock_guard lock(mutex_);
    free_.push_back(index);
    return nullptr;
  }
  const Slot s = slot(index);
  s.account.clear();
  s.ledger.covered.store({});
  s.ledger.part_sequence.store(0, std::memory_order_relaxed);
  // What comes before is there when a reader, or a successor, sees the slot live.
  s.ledger.state.store(kLive, std::memory_order_release);
  live_.fetch_add(1, std::memory_order_relaxed);
  return &s.account;
}

void AccountTable::close(Account* account, const Ending& ending, Wall now) {
  const auto offset = static_cast<std::size_t>(reinterpret_cast<char*>(account) -
                                               reinterpret_cast<char*>(groups_));
  const std::size_t group = offset / sizeof(Group);
  const auto index = static_cast<std::uint32_t>(group * Group::kSlots + static_cast<std::size_t>(
                                                    account - groups_[group].accounts.data()));
  const Slot s = slot(index);
  SLUICE_DCHECK(s.ledger.state.load() == kLive);
  s.note.write_ending(ending, now);
  s.ledger.state.store(kEnded, std::memory_order_release);
  std::uint32_t head = ended_.load(std::memory_order_relaxed);
  do {
    ended_next_[index] = head;
  } while (!ended_.compare_exchange_weak(head, index, std::memory_order_release,
                                         std::memory_order_relaxed));
}

std::vector<std::uint32_t> AccountTable::take_ended() {
  std::vector<std::uint32_t> ended = std::exchange(left_behind_, {});
  const auto first = static_cast<std::ptrdiff_t>(ended.size());
  for (std::uint32_t i = ended_.exchange(kNone, std::memory_order_acquire); i != kNone;
       i = ended_next_[i]) {
    ended.push_back(i);
  }
  std::reverse(ended.begin() + first, ended.end());
  return ended;
}

std::vector<std::uint32_t> AccountTable::moved() const {
  std::vector<std::uint32_t> moved;
  const std::uint32_t high_water = high_water_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < high_water; ++i) {
    const Slot s = slot(i);
    if (s.ledger.state.load(std::memory_order_acquire) == kLive &&
        s.account.counts() != s.ledger.covered.load()) {
      moved.push_back(i);
    }
  }
  return moved;
}

Record AccountTable::part(std::uint32_t index, std::uint64_t sequence, PartKind kind, Wall now) {
  const Slot s = slot(index);
  const bool ended = s.ledger.state.load(std::memory_order_acquire) == kEnded;
  const Counts total = s.account.counts();
  const Counts covered = s.ledger.covered.load();
  Record record;
  record.facts = read_facts(index);
  record.counts = {
      total.messages_up - covered.messages_up,   total.messages_down - covered.messages_down,
      total.bytes_up - covered.bytes_up,         total.bytes_down - covered.bytes_down,
      total.throttled_up - covered.throttled_up, total.throttled_down - covered.throttled_down};
  record.status = 101;
  record.end = now;
  if (kind == PartKind::kInterim) {
    record.part = Part::kInterim;
  } else if (ended) {
    record.part = Part::kFinal;
    const PartNote& note = s.note;
    record.status = note.status;
    record.code = note.code;
    record.close_code = note.close_code;
    record.close_side = note.close_side;
    record.reason.assign(note.reason.data(), std::min<std::size_t>(note.reason_size, kReasonBytes));
    record.end = wall_from_ms(note.end_ms);
  } else {
    record.part = Part::kRecovered;
    record.reason = "the proxy process ended without closing it";
    record.end = wall_from_ms(
        std::max({to_ms(record.facts.begin), s.account.last_data_ms.load(), left_at_ms_}));
  }
  s.note.counts.store(total);
  s.ledger.part_ends.store(kind == PartKind::kLast ? 1 : 0, std::memory_order_relaxed);
  s.ledger.part_sequence.store(sequence, std::memory_order_release);
  return record;
}

void AccountTable::settle(std::uint32_t index) {
  const Slot s = slot(index);
  s.ledger.covered.store(s.note.counts.load());
  if (s.ledger.part_ends.load(std::memory_order_relaxed) != 0) {
    free_slot(index);
    return;
  }
  s.ledger.part_sequence.store(0, std::memory_order_release);
}

void AccountTable::forget_part(std::uint32_t index) {
  slot(index).ledger.part_sequence.store(0, std::memory_order_release);
}

void AccountTable::give_up(std::uint32_t index) { free_slot(index); }

void AccountTable::free_slot(std::uint32_t index) {
  // State first: a slot that is free means nothing to a successor, whatever else it holds.
  slot(index).ledger.state.store(kFree, std::memory_order_release);
  live_.fetch_sub(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  free_.push_back(index);
}

void AccountTable::heartbeat(Wall now) {
  header_->heartbeat_ms.store(to_ms(now), std::memory_order_relaxed);
}

}  // namespace sluice::telemetry
