#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>

#include "proxy/base/limits.h"
#include "proxy/telemetry/access_log.h"
#include "proxy/telemetry/json_line.h"
#include "proxy/telemetry/json_sink.h"
#include "proxy/telemetry/line_writer.h"
#include "proxy/telemetry/test_support.h"

namespace sluice::telemetry {
namespace {

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
  }
  return lines;
}

boost::json::object parse(const std::string& line) { return boost::json::parse(line).as_object(); }

TEST(JsonLine, EscapesWhatJsonCannotHold) {
  std::string out;
  append_json_string(out, "a\"b\\c\n\x7f\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ(out, "\"a\\\"b\\\\c\\u000a\\u007f\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
  for (const std::string_view bad :
       {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80"}) {
    out.clear();
    append_json_string(out, bad);
    EXPECT_EQ(out.rfind("\"\\ufffd", 0), 0u) << out;
    boost::json::parse(out);
  }
}

TEST(JsonLine, WritesTimesInUtc) {
  EXPECT_EQ(rfc3339(wall_from_ms(1'700'000'000'007)), "2023-11-14T22:13:20.007Z");
  EXPECT_EQ(rfc3339(wall_from_ms(0)), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(rfc3339(wall_from_ms(-1)), "1969-12-31T23:59:59.999Z");
}

TEST(LineWriter, DoesNotWaitForAReader) {
  TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  const int reader = ::open((dir / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  auto writer = LineWriter::open(dir / "pipe");
  ASSERT_TRUE(writer.ok());
  const std::string line(1000, 'x');
  std::size_t added = 0;
  while ((*writer)->add(line + "\n")) {
    ++added;
  }
  EXPECT_EQ(added, limits::kLineBufferBytesMax / 1001);
  EXPECT_TRUE((*writer)->flush().ok());
  EXPECT_GT((*writer)->waiting(), 0u);
  // The reader takes it all, piece by piece.
  std::string got;
  char buffer[65536];
  while (got.size() < added * 1001) {
    const ssize_t n = ::read(reader, buffer, sizeof(buffer));
    if (n > 0) {
      got.append(buffer, static_cast<std::size_t>(n));
    }
    ASSERT_TRUE((*writer)->flush().ok());
  }
  EXPECT_EQ(got.substr(got.size() - 1001), line + "\n");
  EXPECT_EQ((*writer)->waiting(), 0u);
  ::close(reader);
}

TEST(AccessLog, WritesALineForEachEvent) {
  TempDir dir;
  auto log = AccessLog::open(dir / "access.log");
  ASSERT_TRUE(log.ok());
  (*log)->opened(sample_facts());
  Ending ending;
  ending.status = 101;
  ending.close_code = 1000;
  ending.close_side = CloseSide::kClient;
  (*log)->ended(sample_facts(), ending, {1, 2, 30, 40, 5, 6});
  ending = {};
  ending.status = 101;  // refuse_by: close
  ending.refusal_code = 900901;
  ending.close_code = 4001;
  ending.reason = "The access token is not known.";
  (*log)->ended(sample_facts(), ending);
  (*log)->flush();
  const auto lines = lines_of(dir / "access.log");
  ASSERT_EQ(lines.size(), 3u);
  const auto opened = parse(lines[0]);
  EXPECT_EQ(opened.at("kind"), "access");
  EXPECT_EQ(opened.at("event"), "opened");
  EXPECT_EQ(opened.at("id"), "id-1");
  EXPECT_EQ(opened.at("key_type"), "SANDBOX");
  EXPECT_EQ(opened.at("status"), 101);
  EXPECT_FALSE(opened.contains("close_code"));
  const auto closed = parse(lines[1]);
  EXPECT_EQ(closed.at("event"), "closed");
  EXPECT_EQ(closed.at("close_code"), 1000);
  EXPECT_EQ(closed.at("close_side"), "CLIENT");
  EXPECT_EQ(closed.at("bytes_down"), 40);
  EXPECT_FALSE(closed.contains("code"));
  const auto refused = parse(lines[2]);
  EXPECT_EQ(refused.at("event"), "refused");
  EXPECT_EQ(refused.at("code"), 900901);
  EXPECT_FALSE(refused.contains("bytes_down"));
}

TEST(AccessLog, NeverHoldsACredential) {
  AccessEntry entry;
  entry.facts = sample_facts();
  entry.method = "GET";
  entry.path = "/echo/v1.0";
  entry.query = "a=1&access_token=s3cret&b=2&api%6Bey=s3cret&access%5ftoken=s3cret&access_token";
  const std::string line = to_json_line(entry);
  EXPECT_EQ(line.find("s3cret"), std::string::npos);
  EXPECT_EQ(parse(line).at("query"),
            "a=1&access_token=redacted&b=2&api%6Bey=redacted&access%5ftoken=redacted&"
            "access_token=redacted");
  EXPECT_EQ(redact_query(""), "");
  EXPECT_EQ(redact_query("token=x&&y"), "token=x&&y");
}

TEST(AccessLog, ReopensItsFileWhenAsked) {
  TempDir dir;
  auto log = AccessLog::open(dir / "access.log");
  ASSERT_TRUE(log.ok());
  (*log)->opened(sample_facts("one"));
  (*log)->flush();
  std::filesystem::rename(dir / "access.log", dir / "access.log.1");
  (*log)->opened(sample_facts("two"));
  (*log)->flush();
  (*log)->reopen();
  (*log)->opened(sample_facts("three"));
  (*log)->flush();
  EXPECT_EQ(lines_of(dir / "access.log.1").size(), 2u);
  EXPECT_EQ(lines_of(dir / "access.log").size(), 1u);
  EXPECT_FALSE(AccessLog::open(dir / "no/such/folder").ok());
}

TEST(AccessLog, TellsWhatItDropped) {
  TempDir dir;
  auto log = AccessLog::open(dir / "access.log");
  ASSERT_TRUE(log.ok());
  for (std::size_t i = 0; i < limits::kAccessLogQueueMax + 3; ++i) {
    (*log)->write({});
  }
  (*log)->flush();
  const auto lines = lines_of(dir / "access.log");
  EXPECT_EQ((*log)->dropped() + lines.size() - 1, limits::kAccessLogQueueMax + 3);
  EXPECT_EQ(parse(lines.back()).at("event"), "dropped");
  EXPECT_GE(parse(lines.back()).at("count").to_number<int>(), 3);
}

TEST(JsonSink, WritesNumberedLinesAndGoesOnAfterThem) {
  TempDir dir;
  const std::string path = dir / "records.jsonl";
  {
    auto sink = JsonSink::open_file(path);
    ASSERT_TRUE(sink.ok());
    EXPECT_EQ((*sink)->last_sequence(), 0u);
    (*sink)->count_dropped(4);
    EXPECT_EQ((*sink)->append({sample_record("a"), sample_record("b")}).count, 2u);
    EXPECT_FALSE(JsonSink::open_file(path).ok());  // in use
  }
  std::ofstream(path, std::ios::app) << "{\"sequence\":3,\"torn";
  auto sink = JsonSink::open_file(path);
  ASSERT_TRUE(sink.ok());
  EXPECT_EQ((*sink)->last_sequence(), 2u);
  EXPECT_EQ((*sink)->append({sample_record("c")}).count, 1u);
  const auto lines = lines_of(path);
  ASSERT_EQ(lines.size(), 3u);
  const auto first = parse(lines[0]);
  EXPECT_EQ(first.at("kind"), "record");
  EXPECT_EQ(first.at("part"), "REFUSED");
  EXPECT_EQ(first.at("connection_id"), "a");
  EXPECT_EQ(first.at("dropped_before"), 4);
  EXPECT_EQ(first.at("code"), 900901);
  EXPECT_EQ(parse(lines[1]).at("dropped_before"), 0);
  EXPECT_EQ(parse(lines[2]).at("sequence"), 3);
}

TEST(JsonSink, KeepsOneOldFile) {
  TempDir dir;
  const std::string path = dir / "records.jsonl";
  {
    auto sink = JsonSink::open_file(path, 3000);
    ASSERT_TRUE(sink.ok());
    for (int i = 0; i < 50; ++i) {
      EXPECT_EQ((*sink)->append({sample_record()}).count, 1u);
    }
  }
  EXPECT_LT(std::filesystem::file_size(path), 4500u);
  EXPECT_LT(std::filesystem::file_size(path + ".1"), 4500u);
  EXPECT_EQ(parse(lines_of(path).back()).at("sequence"), 50);
  // The new file is still empty when the process dies.
  std::filesystem::rename(path, path + ".1");
  auto sink = JsonSink::open_file(path);
  ASSERT_TRUE(sink.ok());
  EXPECT_EQ((*sink)->next_sequence(), 51u);
}

}  // namespace
}  // namespace sluice::telemetry
