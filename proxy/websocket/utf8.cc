#include "proxy/websocket/utf8.h"

#include <cstring>

namespace sluice::websocket {
namespace {

// How many bytes at the front of `p` are ASCII, looking at eight at a time.
std::size_t ascii_run(const char* p, std::size_t size) {
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, p + i, sizeof(word));
    if ((word & 0x8080808080808080U) != 0) {
      break;
    }
  }
  return i;
}

}  // namespace

bool Utf8Validator::feed(std::string_view piece) {
  std::size_t i = 0;
  while (i < piece.size() && left_ != kBroken) {
    if (left_ == 0) {
      i += ascii_run(piece.data() + i, piece.size() - i);
      if (i == piece.size()) {
        break;
      }
    }
    take(static_cast<std::uint8_t>(piece[i]));
    ++i;
  }
  return left_ != kBroken;
}

void Utf8Validator::take(std::uint8_t byte) {
  if (left_ != 0) {
    left_ = byte >= least_ && byte <= most_ ? left_ - 1 : kBroken;
    least_ = 0x80;
    most_ = 0xbf;
    return;
  }
  if (byte < 0x80) {
    return;
  }
  // RFC 3629 section 4: after some first bytes the second has narrower bounds, which exclude
  // overlong forms, surrogates and what lies above U+10FFFF.
  if (byte >= 0xc2 && byte <= 0xdf) {
    left_ = 1;
  } else if (byte >= 0xe0 && byte <= 0xef) {
    left_ = 2;
    least_ = byte == 0xe0 ? 0xa0 : 0x80;
    most_ = byte == 0xed ? 0x9f : 0xbf;
  } else if (byte >= 0xf0 && byte <= 0xf4) {
    left_ = 3;
    least_ = byte == 0xf0 ? 0x90 : 0x80;
    most_ = byte == 0xf4 ? 0x8f : 0xbf;
  } else {
    left_ = kBroken;
  }
}

bool valid_utf8(std::string_view text) {
  Utf8Validator validator;
  return validator.feed(text) && validator.complete();
}

std::string_view cut_utf8(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) {
    return text;
  }
  std::size_t size = bytes_max;
  // text[size] is the first byte left out: a continuation byte there means that a character is cut.
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) {
    --size;
  }
  return text.substr(0, size);
}

}  // namespace sluice::websocket
