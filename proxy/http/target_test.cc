#include "proxy/http/target.h"

#include <gtest/gtest.h>

#include "proxy/base/limits.h"

namespace sluice::http {
namespace {

TEST(Target, IsNormalised) {
  const struct {
    std::string_view target;
    std::string_view path;
  } cases[] = {
      {"/", "/"},
      {"/a/b", "/a/b"},
      {"/a/b/", "/a/b/"},
      {"//a///b//", "/a/b/"},
      {"/%61%2D%7e", "/a-~"},              // unreserved: decoded
      {"/%c3%a9%20%3f", "/%C3%A9%20%3F"},  // others: kept, upper case
      {"/%252e%252e/x", "/%252e%252e/x"},  // decoded once at most
      {"/a/./b", "/a/b"},
      {"/a/../b", "/b"},
      {"/a/%2e%2E/b", "/b"},
      {"/a/b/..", "/a/"},
      {"/a/.", "/a/"},
      {"/a/..", "/"},
      {"/...", "/..."},
      {"/.a/..b", "/.a/..b"},
      {"/a;p=1/b", "/a;p=1/b"},
      {"/a+b", "/a+b"},
      {"/{x}|\"", "/{x}|\""},
  };
  for (const auto& c : cases) {
    const auto target = parse_target(c.target);
    ASSERT_TRUE(target.ok()) << c.target << target.status();
    EXPECT_EQ(target->path, c.path) << c.target;
    const auto again = parse_target(target->path);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again->path, target->path) << "normalising twice changes it";
  }
}

TEST(Target, IsRefusedWhereServersDiffer) {
  for (const char* target :
       {"",       "a",      "*",     "/..",    "/a/../..",    "/a/../../b", "/%2e%2e/x", "/a%2fb",
        "/a%2Fb", "/a%5cb", "/a\\b", "/%00",   "/%0a",        "/%7f",       "/%1F",      "/%",
        "/%a",    "/%zz",   "/a%2",  "/..;/x", "/a/..;x=1/b", "/.;/x",      "/a b",      "/\x80"}) {
    EXPECT_FALSE(parse_target(target).ok()) << target;
  }
}

TEST(Target, KeepsTheQueryAsItCame) {
  const auto target = parse_target("/a?x=%2F..//%zz?&=&");
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->path, "/a");
  EXPECT_EQ(target->query, "x=%2F..//%zz?&=&");
  EXPECT_EQ(format_target(target->path, target->query), "/a?x=%2F..//%zz?&=&");
  EXPECT_EQ(parse_target("/a?")->query, "");
  EXPECT_EQ(format_target("/a", ""), "/a");
}

TEST(Percent, CodesBothWays) {
  EXPECT_EQ(percent_encode("a b/\xc3\xa9~"), "a%20b%2F%C3%A9~");
  EXPECT_EQ(percent_decode("a%20b%2f%C3%A9+"), "a b/\xc3\xa9+");
  EXPECT_EQ(percent_decode("%00"), std::string(1, '\0'));
  for (const char* bad : {"%", "%1", "%g0", "%0g", "a%"}) {
    EXPECT_FALSE(percent_decode(bad)) << bad;
  }
}

TEST(Query, FindsParameters) {
  using Strings = std::vector<std::string>;
  EXPECT_EQ(query_values("a=1&b=2&a=%33+4&a", "a"), (Strings{"1", "3 4", ""}));
  EXPECT_EQ(query_value("access%5ftoken=x", "access_token"), "x");
  EXPECT_EQ(query_value("a=%zz%4", "a"), "%zz%4");
  EXPECT_EQ(query_value("A=1&xa=2&a;=3", "a"), std::nullopt);
  EXPECT_EQ(query_value("", "a"), std::nullopt);
  EXPECT_EQ(query_value("a=b=c", "a"), "b=c");
}

TEST(Query, LosesOneParameterAndNothingElse) {
  const struct {
    std::string_view query;
    std::string_view left;
  } cases[] = {
      {"t=1", ""},
      {"t=1&a=%zz", "a=%zz"},
      {"a=1&t=2", "a=1"},
      {"a=1&t=2&b=3", "a=1&b=3"},
      {"t&t=2&a&t=3", "a"},
      {"%74=1&a", "a"},          // spelt otherwise, still the credential
      {"&t=1&&a=+&", "&&a=+&"},  // odd separators stay
      {"tt=1&T=2", "tt=1&T=2"},
      {"", ""},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(remove_parameter(c.query, "t"), c.left) << c.query;
  }
}

TEST(Form, IsParsed) {
  const auto form = parse_form("grant_type=client_credentials&&scope=a+b%20c&empty=&flag");
  ASSERT_TRUE(form.ok());
  EXPECT_EQ(
      *form,
      (Form{
          {"grant_type", "client_credentials"}, {"scope", "a b c"}, {"empty", ""}, {"flag", ""}}));
  EXPECT_TRUE(parse_form("")->empty());
  EXPECT_FALSE(parse_form("a=%z").ok());
  EXPECT_FALSE(parse_form("%=1").ok());
}

TEST(Form, IsBounded) {
  std::string text;
  for (std::size_t i = 0; i < limits::kFormParametersMax; ++i) {
    text += "a=1&";
  }
  EXPECT_TRUE(parse_form(text).ok());
  EXPECT_FALSE(parse_form(text + "b=1").ok());
}

TEST(Form, IsReadAsItWasWritten) {
  const Form form{{"a b", "1&2=3"}, {"\xc3\xa9", "+~*"}};
  EXPECT_EQ(*parse_form(format_form(form)), form);
}

}  // namespace
}  // namespace sluice::http
