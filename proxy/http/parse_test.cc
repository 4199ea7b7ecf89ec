// What the parsers give and how they behave as bytes arrive. What they refuse, and why, is a table
// in tests/conformance.
#include "proxy/http/parse.h"

#include <gtest/gtest.h>

#include "proxy/base/limits.h"

namespace sluice::http {
namespace {

constexpr std::size_t kMax = 64 * 1024;

TEST(RequestHead, IsParsedWhole) {
  const std::string_view text =
      "GET /chat/v1?x=1 HTTP/1.1\r\nHost: example.org:80\r\nX-Empty:\r\nX-Pad:  \t a b \t\r\n\r\n";
  const RequestParse p = parse_request_head(std::string(text) + "early", kMax);
  ASSERT_EQ(p.state, ParseState::kDone) << p.error.text;
  EXPECT_EQ(p.consumed, text.size());
  EXPECT_EQ(p.head.method, "GET");
  EXPECT_EQ(p.head.target, "/chat/v1?x=1");
  EXPECT_EQ(p.head.version_minor, 1);
  ASSERT_EQ(p.head.headers.size(), 3u);
  EXPECT_EQ(p.head.headers.get("host"), "example.org:80");
  EXPECT_EQ(p.head.headers.find("x-empty"), "");
  EXPECT_EQ(p.head.headers.get("x-pad"), "a b");
}

TEST(RequestHead, NeedsMoreAtEveryPrefix) {
  const std::string_view text = "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
  HeadScanner scanner;
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_EQ(parse_request_head(text.substr(0, size), kMax, scanner).state, ParseState::kNeedMore);
    EXPECT_EQ(parse_request_head(text.substr(0, size), kMax).state, ParseState::kNeedMore);
  }
  EXPECT_EQ(parse_request_head(text, kMax, scanner).state, ParseState::kDone);
  EXPECT_EQ(scanner.end(), text.size());
}

TEST(RequestHead, CostsLinearTimeInSmallPieces) {
  // A quadratic scan of this would look at 2 * 10^11 bytes and never end.
  std::string text = "GET / HTTP/1.1\r\nHost: h\r\nA: ";
  text.append(600'000, 'x');
  HeadScanner scanner;
  for (std::size_t size = 1; size <= text.size(); ++size) {
    ASSERT_EQ(scanner.scan(std::string_view(text).substr(0, size)), ParseState::kNeedMore);
  }
}

TEST(RequestHead, IsRefusedEarlyWhereNoEndCouldSaveIt) {
  const std::string_view cases[] = {"\x16\x03\x01", "\r\n", " GET", "GET / HTTP/1.1\n",
                                    std::string_view("GET /\0", 6)};
  for (const std::string_view text : cases) {
    const RequestParse p = parse_request_head(text, kMax);
    EXPECT_EQ(p.state, ParseState::kError) << text;
    EXPECT_EQ(p.error.status, 400);
    EXPECT_EQ(p.error.code, 400002);
  }
}

TEST(RequestHead, MayBeExactlyAsLargeAsTheBound) {
  const std::string_view text = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  EXPECT_EQ(parse_request_head(text, text.size()).state, ParseState::kDone);
  const RequestParse p = parse_request_head(text, text.size() - 1);
  EXPECT_EQ(p.state, ParseState::kError);
  EXPECT_EQ(p.error.status, 431);
  EXPECT_EQ(p.error.code, 431001);
  EXPECT_EQ(parse_request_head(text.substr(0, 10), 10).error.status, 431);
}

TEST(RequestHead, MayHaveTheMostFieldsAndNoMore) {
  std::string text = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (std::size_t i = 1; i < limits::kHeaderCountMax; ++i) {
    text += "A: b\r\n";
  }
  EXPECT_EQ(parse_request_head(text + "\r\n", kMax).state, ParseState::kDone);
  EXPECT_EQ(parse_request_head(text + "A: b\r\n\r\n", kMax).error.code, 431001);
}

TEST(RequestHead, TurnsAbsoluteFormIntoOriginForm) {
  const struct {
    std::string_view target;
    std::string_view host;
    std::string_view origin;
  } cases[] = {
      {"http://h/a?b", "h", "/a?b"},        {"HTTP://H:80", "h", "/"},
      {"https://h:443/", "H", "/"},         {"ws://h?q", "h:80", "/?q"},
      {"wss://[::1]:9/x", "[::1]:9", "/x"},
  };
  for (const auto& c : cases) {
    const RequestParse p = parse_request_head(
        "GET " + std::string(c.target) + " HTTP/1.1\r\nHost: " + std::string(c.host) + "\r\n\r\n",
        kMax);
    ASSERT_EQ(p.state, ParseState::kDone) << c.target << p.error.text;
    EXPECT_EQ(p.head.target, c.origin);
  }
  const RequestParse old = parse_request_head("GET http://h:81/a HTTP/1.0\r\n\r\n", kMax);
  ASSERT_EQ(old.state, ParseState::kDone);
  EXPECT_EQ(old.head.headers.get("Host"), "h:81");
}

TEST(RequestHead, OfHttp10NeedsNoHost) {
  const RequestParse p = parse_request_head("GET / HTTP/1.0\r\n\r\n", kMax);
  ASSERT_EQ(p.state, ParseState::kDone);
  EXPECT_EQ(p.head.version_minor, 0);
}

TEST(RequestHead, SurvivesBeingWrittenAndReadAgain) {
  const std::string_view text =
      "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX: \xff y\r\n\r\n";
  const RequestParse once = parse_request_head(text, kMax);
  ASSERT_EQ(once.state, ParseState::kDone);
  EXPECT_EQ(serialize(once.head), text);
}

TEST(ResponseHead, IsParsedWhole) {
  const std::string_view text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
  const ResponseParse p = parse_response_head(std::string(text) + "\x81", kMax);
  ASSERT_EQ(p.state, ParseState::kDone) << p.error.text;
  EXPECT_EQ(p.consumed, text.size());
  EXPECT_EQ(p.head.status, 101);
  EXPECT_EQ(p.head.reason, "Switching Protocols");
  EXPECT_EQ(serialize(p.head), text);
}

TEST(ResponseHead, MayLackItsReason) {
  for (const char* text :
       {"HTTP/1.1 200 \r\n\r\n", "HTTP/1.1 200\r\n\r\n", "HTTP/1.0 200 \r\n\r\n"}) {
    const ResponseParse p = parse_response_head(text, kMax);
    ASSERT_EQ(p.state, ParseState::kDone) << text;
    EXPECT_EQ(p.head.status, 200);
    EXPECT_EQ(p.head.reason, "");
  }
}

TEST(ResponseHead, IsTheBackendsFaultWhenBroken) {
  const ResponseParse p = parse_response_head("HTTP/1.1 2x0 OK\r\n\r\n", kMax);
  EXPECT_EQ(p.state, ParseState::kError);
  EXPECT_EQ(p.error.status, 503);
  EXPECT_EQ(p.error.code, 101503);
  EXPECT_FALSE(p.error.text.empty());
}

TEST(Authority, IsAHostAndPerhapsAPort) {
  for (const char* good : {"h", "a-b.example.org", "h:0", "h:65535", "127.0.0.1:80", "[::1]",
                           "[fe80::1]:8099", "my_host", "xn--e1a.com."}) {
    EXPECT_TRUE(valid_authority(good)) << good;
  }
  for (const char* bad : {"",         ":80",    "h:",  "h:65536", "h:8x", "h:-1", "h:+1",
                          "h:000080", "a b",    "a,b", "u@h",     "h/",   "[::1", "::1",
                          "[::1]x",   "[::1]:", "[h]", "[]",      "h%41", "a\\b", "[fe80::1%eth0]",
                          "h\xc3\xa9"}) {
    EXPECT_FALSE(valid_authority(bad)) << bad;
  }
}

}  // namespace
}  // namespace sluice::http
