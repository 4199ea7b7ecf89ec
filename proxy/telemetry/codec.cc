#include "proxy/telemetry/codec.h"

#include <array>
#include <boost/crc.hpp>
#include <cstring>

namespace sluice::telemetry {
namespace {

constexpr std::size_t kTextBytesMax = 4096;  // a record's longer texts are cut

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  // LEB128.
  void number(std::uint64_t value) {
    while (value >= 0x80) {
      out_ += static_cast<char>(value | 0x80);
      value >>= 7;
    }
    out_ += static_cast<char>(value);
  }
  // Small negative numbers stay short.
  void signed_number(std::int64_t value) {
    number((static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63));
  }
  void text(std::string_view value) {
    value = value.substr(0, kTextBytesMax);
    number(value.size());
    out_ += value;
  }

 private:
  std::string& out_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  std::uint64_t number() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (bytes_.empty()) {
        break;
      }
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) {
        return value;
      }
    }
    good_ = false;
    return 0;
  }
  std::int64_t signed_number() {
    const std::uint64_t value = number();
    return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
  }
  std::string text() {
    const std::uint64_t size = number();
    if (size > bytes_.size()) {
      good_ = false;
      return "";
    }
    std::string value(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return value;
  }
  bool done() const { return good_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool good_ = true;
};

std::uint32_t checksum(std::string_view bytes) {
  boost::crc_32_type crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

void put32(std::uint32_t value, char* at) {
  for (int i = 0; i < 4; ++i) {
    at[i] = static_cast<char>(value >> (8 * i));
  }
}

std::uint32_t get32(const char* at) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    value |= static_cast<std::uint32_t>(static_cast<unsigned char>(at[i])) << (8 * i);
  }
  return value;
}

}  // namespace

void encode(const NumberedRecord& numbered, std::string& out) {
  Writer w(out);
  const Record& r = numbered.record;
  const Facts& f = r.facts;
  w.number(numbered.sequence);
  w.number(numbered.dropped_before);
  w.number(static_cast<std::uint64_t>(r.part));
  w.number(static_cast<std::uint64_t>(f.key_type));
  w.number(static_cast<std::uint64_t>(r.close_side));
  for (const std::string* text :
       {&f.connection_id, &f.listener, &f.api, &f.api_version, &f.application, &f.plan, &f.user,
        &f.client_address, &f.user_agent, &f.topic, &f.endpoint, &f.token_id, &r.reason}) {
    w.text(*text);
  }
  w.signed_number(to_ms(f.begin));
  w.signed_number(to_ms(r.end));
  w.signed_number(r.status);
  w.signed_number(r.code);
  w.signed_number(r.close_code);
  w.number(f.handshake_us);
  const Counts& c = r.counts;
  for (const std::uint64_t count : {c.messages_up, c.messages_down, c.bytes_up, c.bytes_down,
                                    c.throttled_up, c.throttled_down}) {
    w.number(count);
  }
}

std::optional<NumberedRecord> decode(std::string_view bytes) {
  Reader in(bytes);
  NumberedRecord numbered;
  Record& r = numbered.record;
  Facts& f = r.facts;
  numbered.sequence = in.number();
  numbered.dropped_before = in.number();
  const std::uint64_t part = in.number();
  const std::uint64_t key_type = in.number();
  const std::uint64_t side = in.number();
  if (part > static_cast<std::uint64_t>(Part::kRefused) ||
      key_type > static_cast<std::uint64_t>(model::KeyType::kSandbox) ||
      side > static_cast<std::uint64_t>(CloseSide::kProxy)) {
    return std::nullopt;
  }
  r.part = static_cast<Part>(part);
  f.key_type = static_cast<model::KeyType>(key_type);
  r.close_side = static_cast<CloseSide>(side);
  for (std::string* text :
       {&f.connection_id, &f.listener, &f.api, &f.api_version, &f.application, &f.plan, &f.user,
        &f.client_address, &f.user_agent, &f.topic, &f.endpoint, &f.token_id, &r.reason}) {
    *text = in.text();
  }
  f.begin = wall_from_ms(in.signed_number());
  r.end = wall_from_ms(in.signed_number());
  r.status = static_cast<int>(in.signed_number());
  r.code = static_cast<int>(in.signed_number());
  r.close_code = static_cast<int>(in.signed_number());
  f.handshake_us = in.number();
  Counts& c = r.counts;
  for (std::uint64_t* count : {&c.messages_up, &c.messages_down, &c.bytes_up, &c.bytes_down,
                               &c.throttled_up, &c.throttled_down}) {
    *count = in.number();
  }
  if (!in.done()) {
    return std::nullopt;
  }
  return numbered;
}

void append_frame(const NumberedRecord& record, std::string& out) {
  const std::size_t head = out.size();
  out.append(kFrameHeadBytes, '\0');
  encode(record, out);
  const std::string_view body = std::string_view(out).substr(head + kFrameHeadBytes);
  put32(static_cast<std::uint32_t>(body.size()), out.data() + head);
  put32(checksum(body), out.data() + head + 4);
}

std::optional<std::string_view> take_frame(std::string_view& bytes) {
  if (bytes.size() < kFrameHeadBytes) {
    return std::nullopt;
  }
  const std::uint32_t size = get32(bytes.data());
  if (size > kFrameBodyBytesMax || size > bytes.size() - kFrameHeadBytes) {
    return std::nullopt;
  }
  const std::string_view body = bytes.substr(kFrameHeadBytes, size);
  if (checksum(body) != get32(bytes.data() + 4)) {
    return std::nullopt;
  }
  bytes.remove_prefix(kFrameHeadBytes + size);
  return body;
}

}  // namespace sluice::telemetry
