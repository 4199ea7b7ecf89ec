// Holds the tables of http_cases.h against the parsers, whole and byte by byte.
#include <gtest/gtest.h>

#include "proxy/base/limits.h"
#include "proxy/http/parse.h"
#include "tests/conformance/http_cases.h"

namespace sluice::conformance {
namespace {

constexpr std::size_t kMax = limits::kRequestHeadBytesMax;

struct Outcome {
  bool accepted = false;
  int status = 0;
  int code = 0;
};

template <typename Parse>
Outcome outcome(const Parse& parse, std::size_t size) {
  // A table's head is whole: an accepted one ends with its bytes, and waiting for more is no
  // answer.
  return {parse.state == http::ParseState::kDone && parse.consumed == size, parse.error.status,
          parse.error.code};
}

void expect(const HeadCase& c, const Outcome& got, const char* how) {
  EXPECT_EQ(got.accepted, c.status == 0) << c.rule << ", " << how;
  EXPECT_EQ(got.status, c.status) << c.rule << ", " << how;
  EXPECT_EQ(got.code, c.code) << c.rule << ", " << how;
}

class Requests : public testing::TestWithParam<HeadCase> {};

TEST_P(Requests, GetTheAnswerOfTheTable) {
  const HeadCase& c = GetParam();
  expect(c, outcome(http::parse_request_head(c.bytes, kMax), c.bytes.size()), "whole");
  http::HeadScanner scanner;
  http::RequestParse parse;
  for (std::size_t size = 1; size <= c.bytes.size() && parse.state == http::ParseState::kNeedMore;
       ++size) {
    parse = http::parse_request_head(std::string_view(c.bytes).substr(0, size), kMax, scanner);
  }
  expect(c, outcome(parse, c.bytes.size()), "byte by byte");
}

class Responses : public testing::TestWithParam<HeadCase> {};

TEST_P(Responses, GetTheAnswerOfTheTable) {
  const HeadCase& c = GetParam();
  expect(c, outcome(http::parse_response_head(c.bytes, kMax), c.bytes.size()), "whole");
}

std::string name(const testing::TestParamInfo<HeadCase>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Accepted, Requests, testing::ValuesIn(accepted_requests()), name);
INSTANTIATE_TEST_SUITE_P(Framing, Requests, testing::ValuesIn(framing_requests()), name);
INSTANTIATE_TEST_SUITE_P(Lines, Requests, testing::ValuesIn(line_requests()), name);
INSTANTIATE_TEST_SUITE_P(StartLine, Requests, testing::ValuesIn(start_line_requests()), name);
INSTANTIATE_TEST_SUITE_P(Host, Requests, testing::ValuesIn(host_requests()), name);
INSTANTIATE_TEST_SUITE_P(Size, Requests, testing::ValuesIn(size_requests()), name);
INSTANTIATE_TEST_SUITE_P(Backend, Responses, testing::ValuesIn(responses()), name);

}  // namespace
}  // namespace sluice::conformance
