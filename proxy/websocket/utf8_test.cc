#include "proxy/websocket/utf8.h"

#include <gtest/gtest.h>

#include <string>

#include "proxy/websocket/close.h"

namespace sluice::websocket {
namespace {

const std::string kGood[] = {
    "",
    "plain ASCII, longer than eight bytes",
    "\xc2\x80\xdf\xbf",
    "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf",
    "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
    "aaaaaaa\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
    std::string(1, '\0'),
};
// Wrong at the byte with this index (the first that no continuation could save).
const struct {
  std::string text;
  std::size_t wrong_at;
} kBad[] = {
    {"\x80", 0},
    {"\xc0\x80", 0},
    {"\xc1\xbf", 0},
    {"\xe0\x9f\xbf", 1},      // overlong
    {"\xed\xa0\x80", 1},      // surrogate
    {"\xf0\x8f\xbf\xbf", 1},  // overlong
    {"\xf4\x90\x80\x80", 1},  // above U+10FFFF
    {"\xf5\x80\x80\x80", 0},
    {"\xff", 0},
    {"aaaaaaaaaaaaaaaa\xc3(", 17},
    {"\xe2\x28\xa1", 1},
    {"\xe2\x82\x28", 2},
};

TEST(Utf8, TellsGoodFromBad) {
  for (const std::string& text : kGood) {
    EXPECT_TRUE(valid_utf8(text)) << text;
  }
  for (const auto& bad : kBad) {
    EXPECT_FALSE(valid_utf8(bad.text)) << bad.text;
  }
  for (const char* cut : {"\xc3", "\xe2\x82", "\xf0\x90\x80"}) {
    EXPECT_FALSE(valid_utf8(cut));
  }
}

TEST(Utf8Validator, FailsAtTheFirstWrongByte) {
  for (const auto& bad : kBad) {
    Utf8Validator v;
    for (std::size_t i = 0; i < bad.text.size(); ++i) {
      EXPECT_EQ(v.feed(std::string_view(bad.text).substr(i, 1)), i < bad.wrong_at) << i;
    }
    EXPECT_FALSE(v.feed("good again"));
    EXPECT_FALSE(v.complete());
  }
}

TEST(Utf8Validator, DoesNotCareWhereTextIsCut) {
  for (const std::string& text : kGood) {
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
      Utf8Validator v;
      EXPECT_TRUE(v.feed(std::string_view(text).substr(0, cut)));
      EXPECT_TRUE(v.feed(std::string_view(text).substr(cut)));
      EXPECT_TRUE(v.complete());
    }
  }
}

TEST(CutUtf8, CutsBetweenCharacters) {
  const std::string text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
  const std::size_t edges[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
  for (std::size_t most = 0; most < 12; ++most) {
    EXPECT_EQ(cut_utf8(text, most).size(), edges[most]) << most;
  }
}

TEST(ParseClose, ChecksCodeAndReason) {
  EXPECT_EQ(parse_close("")->code, close_code::kNoStatus);
  const auto close = parse_close("\x03\xe8good");
  ASSERT_TRUE(close);
  EXPECT_EQ(close->code, 1000);
  EXPECT_EQ(close->reason, "good");
  EXPECT_FALSE(parse_close("\x03"));
  EXPECT_FALSE(parse_close("\x03\xe8\xff"));
  EXPECT_FALSE(parse_close("\x03\xed"));  // 1005
}

TEST(CloseCode, IsValidWhereTheRfcAndItsRegistrySaySo) {
  for (const int good :
       {1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}) {
    EXPECT_TRUE(valid_close_code(static_cast<std::uint16_t>(good))) << good;
  }
  for (const int bad : {0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535}) {
    EXPECT_FALSE(valid_close_code(static_cast<std::uint16_t>(bad))) << bad;
  }
}

}  // namespace
}  // namespace sluice::websocket
