#include "proxy/http/head.h"

#include <gtest/gtest.h>

#include "proxy/http/parse.h"

namespace sluice::http {
namespace {

TEST(Serialize, WritesARequest) {
  RequestHead head;
  head.method = "GET";
  head.target = "/a?b";
  head.version_minor = 0;
  head.headers.add("Host", "h");
  EXPECT_EQ(serialize(head), "GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n");
}

TEST(Serialize, WritesAResponseWithTheUsualReasonUnlessOneIsGiven) {
  ResponseHead head;
  head.status = 404;
  EXPECT_EQ(serialize(head), "HTTP/1.1 404 Not Found\r\n\r\n");
  head.reason = "Gone fishing";
  EXPECT_EQ(serialize(head), "HTTP/1.1 404 Gone fishing\r\n\r\n");
}

TEST(SimpleResponse, SetsTheLengthWhateverWasThere) {
  Headers headers;
  headers.add("Content-Length", "99");
  headers.add("Transfer-Encoding", "chunked");
  EXPECT_EQ(simple_response(200, headers, "abc"),
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_EQ(simple_response(500, {}, ""),
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(simple_response(204, {}, "ignored"), "HTTP/1.1 204 No Content\r\n\r\n");
}

TEST(ReasonPhrase, NamesTheClassOfUnknownOnes) {
  EXPECT_EQ(reason_phrase(426), "Upgrade Required");
  EXPECT_EQ(reason_phrase(499), "Client Error");
  EXPECT_EQ(reason_phrase(700), "Unknown");
  EXPECT_EQ(reason_phrase(0), "Unknown");
}

TEST(HopByHop, GoWithWhatConnectionNominates) {
  Headers h;
  h.add("Host", "h");
  h.add("Connection", "close, X-Hop");
  h.add("connection", "X-Other");
  h.add("x-hop", "1");
  h.add("X-Other", "1");
  h.add("X-Stays", "1");
  for (const char* name :
       {"Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE",
        "Trailer", "Transfer-Encoding", "Upgrade"}) {
    h.add(name, "1");
  }
  remove_hop_by_hop(h);
  ASSERT_EQ(h.size(), 2u);
  EXPECT_EQ(h.at(0).name, "Host");
  EXPECT_EQ(h.at(1).name, "X-Stays");
}

TEST(HopByHop, CannotBeUsedToStripWhatOthersRelyOn) {
  const std::vector<std::string_view> names = {
      "Host",      "Authorization",   "Cookie",       "Content-Length",
      "Origin",    "X-Forwarded-For", "X-Request-Id", "Sec-WebSocket-Key",
      "Forwarded", "Cache-Control"};
  Headers h;
  for (const std::string_view name : names) {
    h.add("Connection", name);
    h.add(name, "1");
  }
  remove_hop_by_hop(h);
  EXPECT_EQ(h.size(), names.size());
}

TEST(HttpDate, IsInTheFixedForm) {
  EXPECT_EQ(http_date(Wall(seconds(784111777))), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(http_date(Wall(nanoseconds(0))), "Thu, 01 Jan 1970 00:00:00 GMT");
}

}  // namespace
}  // namespace sluice::http
