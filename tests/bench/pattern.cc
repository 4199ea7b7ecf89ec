#include "tests/bench/pattern.h"

#include <algorithm>
#include <cstring>

#include "proxy/base/check.h"
#include "proxy/base/rng.h"

namespace sluice::bench {
namespace {

constexpr std::size_t kOffsets = 4096;  // so many different bodies
constexpr std::uint64_t kNoiseSeed = 0x5eed;

std::uint64_t digest(const MessageId& id, std::size_t message_bytes) {
  std::uint64_t state = message_bytes;
  for (const std::uint64_t part :
       {std::uint64_t{id.connection}, id.sequence, static_cast<std::uint64_t>(id.sent_ns)}) {
    state = Rng(state ^ part).next();
  }
  return state;
}

template <class T>
void put(std::uint8_t*& out, T value) {
  std::memcpy(out, &value, sizeof(value));
  out += sizeof(value);
}

template <class T>
void get(const std::uint8_t*& in, T& value) {
  std::memcpy(&value, in, sizeof(value));
  in += sizeof(value);
}

}  // namespace

Pattern::Pattern(std::size_t message_bytes)
    : message_bytes_(message_bytes), noise_(message_bytes + kOffsets) {
  SLUICE_CHECK(message_bytes >= kPrologueBytes);
  Rng rng(kNoiseSeed);
  std::ranges::generate(noise_, [&] { return static_cast<std::uint8_t>(rng.next()); });
}

const std::uint8_t* Pattern::body(const MessageId& id) const {
  return noise_.data() + digest(id, message_bytes_) % kOffsets;
}

void Pattern::fill(const MessageId& id, std::uint8_t* out) const {
  std::uint8_t* to = out;
  put(to, id.sent_ns);
  put(to, id.sequence);
  put(to, id.connection);
  put(to, static_cast<std::uint32_t>(digest(id, message_bytes_) >> 32));
  std::memcpy(to, body(id), message_bytes_ - kPrologueBytes);
}

std::optional<MessageId> Pattern::identify(
    const std::array<std::uint8_t, kPrologueBytes>& prologue) const {
  MessageId id;
  std::uint32_t check = 0;
  const std::uint8_t* from = prologue.data();
  get(from, id.sent_ns);
  get(from, id.sequence);
  get(from, id.connection);
  get(from, check);
  if (check != static_cast<std::uint32_t>(digest(id, message_bytes_) >> 32)) {
    return std::nullopt;
  }
  return id;
}

bool Pattern::matches(const MessageId& id, std::size_t at, ByteView bytes) const {
  return at + bytes.size() <= message_bytes_ &&
         std::memcmp(body(id) + at - kPrologueBytes, bytes.data(), bytes.size()) == 0;
}

void MessageCheck::feed(ByteView bytes) {
  if (at_ < kPrologueBytes) {
    const std::size_t taken = std::min(kPrologueBytes - at_, bytes.size());
    std::memcpy(prologue_.data() + at_, bytes.data(), taken);
    at_ += taken;
    bytes = bytes.subspan(taken);
    if (at_ < kPrologueBytes) {
      return;
    }
    id_ = pattern_->identify(prologue_);
  }
  intact_ = intact_ && id_ && pattern_->matches(*id_, at_, bytes);
  at_ += bytes.size();
}

std::optional<MessageId> MessageCheck::finish() {
  const bool whole = intact_ && at_ == pattern_->message_bytes();
  std::optional<MessageId> id = whole ? id_ : std::nullopt;
  at_ = 0;
  intact_ = true;
  id_.reset();
  return id;
}

}  // namespace sluice::bench
