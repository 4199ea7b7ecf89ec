#include "proxy/http/headers.h"

#include <gtest/gtest.h>

namespace sluice::http {
namespace {

using Views = std::vector<std::string_view>;

TEST(Headers, FindsTheFirstWithoutCase) {
  Headers h;
  h.add("Host", "a");
  h.add("X-One", "1");
  h.add("x-one", "2");
  EXPECT_EQ(h.find("X-ONE"), "1");
  EXPECT_EQ(h.count("x-One"), 2u);
  EXPECT_EQ(h.all("X-One"), (Views{"1", "2"}));
  EXPECT_FALSE(h.find("X-On"));
  EXPECT_EQ(h.get("missing"), "");
}

TEST(Headers, KeepsAnEmptyValueApartFromAMissingOne) {
  Headers h;
  h.add("X", "");
  EXPECT_TRUE(h.has("x"));
  EXPECT_FALSE(h.has("y"));
}

TEST(Headers, SetReplacesInPlaceAndRemovesTheOthers) {
  Headers h;
  h.add("A", "1");
  h.add("B", "2");
  h.add("a", "3");
  h.set("a", "new");
  ASSERT_EQ(h.size(), 2u);
  EXPECT_EQ(h.at(0).value, "new");
  EXPECT_EQ(h.at(1).name, "B");
  h.set("C", "4");
  EXPECT_EQ(h.at(2).value, "4");
}

TEST(Headers, TakesViewsOfItself) {
  Headers h;
  h.add("Some-Name", std::string(40, 'x'));
  for (int i = 0; i < 100; ++i) {
    h.add(h.at(0).name, h.at(0).value);
    h.set("Other", h.at(0).value);
  }
  EXPECT_EQ(h.count("some-name"), 101u);
  for (const Headers::Field field : h) {
    EXPECT_EQ(field.value, std::string(40, 'x'));
  }
}

TEST(Headers, RemovesByNameAndPredicate) {
  Headers h;
  h.add("A", "1");
  h.add("B", "2");
  h.add("a", "3");
  EXPECT_EQ(h.remove("A"), 2u);
  EXPECT_EQ(h.remove("A"), 0u);
  EXPECT_EQ(h.remove_if([](std::string_view, std::string_view v) { return v == "2"; }), 1u);
  EXPECT_TRUE(h.empty());
}

TEST(Headers, ReadsSeveralFieldsAsOneList) {
  Headers h;
  h.add("Connection", "keep-alive ,\tUpgrade,, ");
  h.add("connection", "x");
  EXPECT_EQ(h.tokens("Connection"), (Views{"keep-alive", "Upgrade", "x"}));
  EXPECT_TRUE(h.has_token("Connection", "upgrade"));
  EXPECT_FALSE(h.has_token("Connection", "up"));
  EXPECT_TRUE(h.tokens("none").empty());
}

TEST(Headers, ComparesNamesWithoutCaseAndValuesWith) {
  Headers a;
  Headers b;
  a.add("Host", "x");
  b.add("host", "x");
  EXPECT_EQ(a, b);
  b.set("host", "X");
  EXPECT_FALSE(a == b);
  a.set("Host", "X");
  a.add("More", "");
  EXPECT_FALSE(a == b);
}

TEST(Headers, CopyAndMoveKeepTheText) {
  Headers a;
  a.add("Short", "s");  // fits a string's own buffer, which moves
  Headers b = a;
  const Headers c = std::move(a);
  EXPECT_EQ(b.get("short"), "s");
  EXPECT_EQ(c.get("short"), "s");
}

TEST(Text, KnowsTokensValuesAndSpace) {
  EXPECT_TRUE(is_token("!#$%&'*+-.^_`|~09azAZ"));
  for (const char* bad : {"", "a b", "a:", "a\t", "(", "\x80", "\"", "a,"}) {
    EXPECT_FALSE(is_token(bad)) << bad;
  }
  EXPECT_FALSE(is_token(std::string_view("a\0", 2)));
  EXPECT_TRUE(valid_value("a \t b\xff"));
  for (const char* bad : {"a\r", "a\nb", "\x7f", "\x01", " a", "a\t"}) {
    EXPECT_FALSE(valid_value(bad)) << bad;
  }
  EXPECT_EQ(trim(" \t a b\t "), "a b");
  EXPECT_EQ(trim(" \t"), "");
}

}  // namespace
}  // namespace sluice::http
