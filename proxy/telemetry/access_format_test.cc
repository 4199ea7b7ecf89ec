#include "proxy/telemetry/access_format.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "proxy/telemetry/access_log.h"
#include "proxy/telemetry/test_support.h"

namespace sluice::telemetry {
namespace {

http::RequestHead sample_head() {
  http::RequestHead head;
  head.method = "GET";
  head.target = "/echo/v1.0/room?a=1&access_token=s3cret";
  head.headers.add("Host", "api.example.com");
  head.headers.add("User-Agent", "agent \"1\"\\");
  head.headers.add("X-Real-Ip", "192.0.2.9");
  return head;
}

AccessEntry sample_entry() {
  AccessEntry entry;
  entry.event = AccessEntry::Event::kClosed;
  entry.facts = sample_facts();
  entry.time = entry.facts.begin + milliseconds(1500);
  entry.counts = {1, 2, 30, 40, 5, 6};
  entry.ending.status = 101;
  entry.ending.close_code = 1000;
  entry.ending.close_side = CloseSide::kClient;
  return entry;
}

std::string line_of(std::string_view text, AccessEntry entry = sample_entry()) {
  const auto format = AccessFormat::parse(text);
  EXPECT_TRUE(format.ok()) << format.status();
  entry.request = format->capture(sample_head());
  return format->line(entry);
}

std::string fault_of(std::string_view text) {
  const auto format = AccessFormat::parse(text);
  EXPECT_FALSE(format.ok()) << text;
  return std::string(message_of(format.status()));
}

TEST(AccessFormat, FillsALineOfText) {
  EXPECT_EQ(line_of("%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %RESPONSE_CODE%"),
            "GET /echo/v1.0/room?a=1&access_token=redacted api.example.com 101\n");
  EXPECT_EQ(line_of("%API% %CLOSE_CODE% %CLOSE_SIDE% %DURATION%ms 100%% %BYTES_SENT%"),
            "echo-v1 1000 CLIENT 1500ms 100% 40\n");
  EXPECT_EQ(line_of("%START_TIME%|%START_TIME(%d/%b/%Y %H:%M)%|%START_TIME(%Y):2%"),
            "2023-11-14T22:13:20.123Z|14/Nov/2023 22:13|20\n");
  EXPECT_EQ(line_of(""), "\n");
}

TEST(AccessFormat, ShowsWhatIsAbsentAndCutsWhatIsLong) {
  EXPECT_EQ(line_of("%CODE% %REQ(X-NONE)% %REQ(X-NONE?X-REAL-IP)% %API:4% %REQ(X-REAL-IP):3%"),
            "- - 192.0.2.9 echo 192\n");
}

TEST(AccessFormat, KeepsAClientFromForgingALine) {
  EXPECT_EQ(line_of("\"%REQ(USER-AGENT)%\""), "\"agent \\\"1\\\"\\\\\"\n");
  AccessEntry entry = sample_entry();
  entry.ending.reason = "a\nb\x01";
  EXPECT_EQ(line_of("%RESPONSE_CODE_DETAILS%", entry), "a\\x0ab\\x01\n");
}

TEST(AccessFormat, FillsJsonWithNumbersAndNulls) {
  const std::string line =
      line_of(R"({"at":{"path":"%REQ(:PATH)%","status":"%RESPONSE_CODE%"},"none":"%CODE%",)"
              R"("list":["%API%",7],"both":"%API% %REQ(USER-AGENT)%"})");
  const auto object = boost::json::parse(line).as_object();
  EXPECT_EQ(object.at("at").at("status"), 101);
  EXPECT_EQ(object.at("at").at("path"), "/echo/v1.0/room?a=1&access_token=redacted");
  EXPECT_TRUE(object.at("none").is_null());
  EXPECT_EQ(object.at("list").as_array().at(0), "echo-v1");
  EXPECT_EQ(object.at("list").as_array().at(1), 7);
  EXPECT_EQ(object.at("both"), "echo-v1 agent \"1\"\\");
  EXPECT_EQ(line.back(), '\n');
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
}

TEST(AccessFormat, HasATextLineLikeEnvoys) {
  AccessEntry entry = sample_entry();
  entry.event = AccessEntry::Event::kRefused;
  entry.ending = {};
  entry.ending.status = 404;
  entry.ending.refusal_code = 404001;
  EXPECT_EQ(line_of("text", entry),
            R"([2023-11-14T22:13:20.123Z] "GET /echo/v1.0/room?a=1&access_token=redacted )"
            R"(HTTP/1.1" refused 404 NR 30 40 1500 "-" "agent \"1\"\\" "id-1" "api.example.com" )"
            "\"ws://backend:9100/\"\n");
}

TEST(AccessFormat, NamesWhyAnExchangeEnded) {
  const auto flags = [](std::optional<int> code, CloseSide side, std::uint16_t close_code) {
    AccessEntry entry = sample_entry();
    entry.ending.refusal_code = code;
    entry.ending.close_side = side;
    entry.ending.close_code = close_code;
    return line_of("%RESPONSE_FLAGS%", entry);
  };
  EXPECT_EQ(flags(101506, CloseSide::kProxy, 0), "OM\n");
  EXPECT_EQ(flags(900901, CloseSide::kProxy, 0), "UAEX\n");
  EXPECT_EQ(flags(900804, CloseSide::kProxy, 0), "RL\n");
  EXPECT_EQ(flags({}, CloseSide::kClient, 1006), "DC\n");
  EXPECT_EQ(flags({}, CloseSide::kBackend, 1014), "UC\n");
  EXPECT_EQ(flags({}, CloseSide::kClient, 1000), "-\n");
}

TEST(AccessFormat, RefusesWhatItCannotShow) {
  EXPECT_NE(fault_of("%NOTHING%").find("%NOTHING%"), std::string::npos);
  EXPECT_NE(fault_of("%REQ(Authorization)%").find("credential"), std::string::npos);
  EXPECT_NE(fault_of("%REQ(X-A?cookie)%").find("credential"), std::string::npos);
  EXPECT_NE(fault_of("100%").find("%%"), std::string::npos);
  EXPECT_NE(fault_of("%REQ(").find("%%"), std::string::npos);
  EXPECT_NE(fault_of("%API:x%").find("number"), std::string::npos);
  EXPECT_NE(fault_of("%API(x)%").find("%API(x)%"), std::string::npos);
  EXPECT_NE(fault_of("%REQ()%").find("header"), std::string::npos);
  EXPECT_NE(fault_of("{\"a\": ").find("JSON"), std::string::npos);
  EXPECT_NE(fault_of(R"({"a": {"b": "%NO%"}})").find("%NO%"), std::string::npos);
}

TEST(AccessFormat, TellsDroppedLinesInItsOwnForm) {
  const Wall time = wall_from_ms(1'700'000'000'007);
  EXPECT_EQ(AccessFormat::parse("text")->dropped_line(time, 3),
            "[2023-11-14T22:13:20.007Z] 3 lines of this log were dropped\n");
  const auto line = AccessFormat::parse("json")->dropped_line(time, 3);
  EXPECT_EQ(boost::json::parse(line).at("count"), 3);
}

}  // namespace
}  // namespace sluice::telemetry
