// UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::websocket {

bool valid_utf8(std::string_view text);

// The most bytes of `text`, at most `bytes_max`, that do not cut a character. `text` must be valid.
std::string_view cut_utf8(std::string_view text, std::size_t bytes_max);

// Text that comes in pieces, cut anywhere.
class Utf8Validator {
 public:
  // False as soon as no continuation could make it valid, and ever after.
  bool feed(std::string_view piece);
  // Whether what was fed is valid and ends with a whole character.
  bool complete() const { return left_ == 0; }

 private:
  void take(std::uint8_t byte);

  std::uint8_t left_ = 0;      // continuation bytes awaited; kBroken once wrong
  std::uint8_t least_ = 0x80;  // bounds of the next continuation byte
  std::uint8_t most_ = 0xbf;

  static constexpr std::uint8_t kBroken = 0xff;
};

}  // namespace sluice::websocket
