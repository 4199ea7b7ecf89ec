#include "proxy/net/proxy_protocol.h"

#include <gtest/gtest.h>

#include <string>

#include "proxy/base/limits.h"

namespace sluice::net {
namespace {

std::string binary(unsigned char command, unsigned char family, const std::string& body) {
  std::string out("\r\n\r\n\0\r\nQUIT\n", 12);
  out += static_cast<char>(command);
  out += static_cast<char>(family);
  out += static_cast<char>(body.size() >> 8);
  out += static_cast<char>(body.size() & 0xff);
  return out + body;
}

const std::string kV4Body("\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x01\xbb", 12);

// IP:PORT of the client, "itself", "more", or "bad".
std::string outcome(const std::string& bytes) {
  const auto parsed = parse_proxy_header(bytes);
  if (!parsed.ok()) {
    return "bad";
  }
  if (!*parsed) {
    return "more";
  }
  const ProxyHeader& header = **parsed;
  EXPECT_LE(header.size, bytes.size());
  return header.client ? header.client->ip + " " + std::to_string(header.client->port) : "itself";
}

TEST(ProxyProtocol, ReadsALine) {
  EXPECT_EQ(outcome("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nGET"), "192.0.2.1 56324");
  EXPECT_EQ(outcome("PROXY TCP6 2001:DB8::0:1 ::1 1 65535\r\n"), "2001:db8::1 1");
  EXPECT_EQ(outcome("PROXY UNKNOWN\r\n"), "itself");
  EXPECT_EQ(outcome("PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n"), "itself");
  const auto parsed = parse_proxy_header("PROXY UNKNOWN\r\nrest");
  EXPECT_EQ((*parsed)->size, 15U);
}

TEST(ProxyProtocol, ReadsABinaryHeaderAndSkipsItsTlvs) {
  const std::string bytes = binary(0x21, 0x11, kV4Body + std::string("\x04\x00\x01x", 4));
  EXPECT_EQ(outcome(bytes + "GET"), "192.0.2.1 56324");
  EXPECT_EQ((*parse_proxy_header(bytes + "GET"))->size, bytes.size());
  std::string v6(36, '\0');
  v6[0] = '\x20';
  v6[1] = '\x01';
  v6[15] = '\x07';
  v6[33] = '\x50';
  EXPECT_EQ(outcome(binary(0x21, 0x21, v6)), "2001::7 80");
  EXPECT_EQ(outcome(binary(0x20, 0x00, "")), "itself");
  EXPECT_EQ(outcome(binary(0x20, 0x11, kV4Body)), "itself");
  EXPECT_EQ(outcome(binary(0x21, 0x00, "")), "itself");
  EXPECT_EQ(outcome(binary(0x21, 0x31, std::string(216, 'p'))), "itself");
}

TEST(ProxyProtocol, WaitsForEveryByte) {
  for (const std::string& whole :
       {std::string("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"), binary(0x21, 0x11, kV4Body)}) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      EXPECT_EQ(outcome(whole.substr(0, size)), "more") << size;
    }
  }
}

TEST(ProxyProtocol, RefusesWhatIsNotExactlyAHeader) {
  for (const char* line :
       {"GET / HTTP/1.1\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n", "proxy UNKNOWN\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 \r\n", "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 x 1 2\r\n", "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n", "PROXY \r\n", "\r\n\r\nx"}) {
    EXPECT_EQ(outcome(line), "bad") << line;
  }
  EXPECT_EQ(outcome("PROXY UNKNOWN " + std::string(100, 'x')), "bad");
  EXPECT_EQ(outcome(binary(0x11, 0x11, kV4Body)), "bad");
  EXPECT_EQ(outcome(binary(0x22, 0x11, kV4Body)), "bad");
  EXPECT_EQ(outcome(binary(0x21, 0x12, kV4Body)), "bad");  // datagrams
  EXPECT_EQ(outcome(binary(0x21, 0x11, kV4Body.substr(1))), "bad");
  EXPECT_EQ(outcome(binary(0x21, 0x21, kV4Body)), "bad");
  EXPECT_EQ(outcome(binary(0x21, 0x11, std::string(limits::kProxyHeaderBytesMax, 'x'))), "bad");
}

}  // namespace
}  // namespace sluice::net
