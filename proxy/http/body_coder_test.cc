#include "proxy/http/body_coder.h"

#include <gtest/gtest.h>

namespace sluice::http {
namespace {

constexpr BodyFraming kChunkedIn{BodyFraming::kChunked, 0};
constexpr BodyFraming kUntilCloseIn{BodyFraming::kUntilClose, 0};

struct Passed {
  std::string out;
  std::size_t payload = 0;
  std::size_t consumed = 0;
};

// Gives `bytes` in pieces of `step`.
Passed pass(BodyCoder& coder, std::string_view bytes, std::size_t step = 1) {
  Passed passed;
  std::string scratch;
  for (std::size_t at = 0; at < bytes.size() && !coder.done() && coder.fault().empty();) {
    const BodyCoder::Piece piece = coder.take(bytes.substr(at, step), scratch);
    passed.out += piece.bytes;
    passed.payload += piece.payload;
    passed.consumed += piece.consumed;
    at += step;
  }
  return passed;
}

TEST(BodyCoder, IsDoneAtOnceWithoutABody) {
  BodyCoder coder;
  std::string scratch;
  EXPECT_TRUE(coder.done());
  EXPECT_EQ(coder.take("next", scratch).consumed, 0u);
  EXPECT_TRUE(coder.end(scratch));
  EXPECT_EQ(scratch, "");
}

TEST(BodyCoder, PassesALengthThroughWithoutCopyingIt) {
  BodyCoder coder({BodyFraming::kLength, 5}, false);
  std::string scratch;
  const std::string_view bytes = "helloGET";
  const BodyCoder::Piece piece = coder.take(bytes, scratch);
  EXPECT_EQ(piece.bytes.data(), bytes.data());
  EXPECT_EQ(piece.bytes, "hello");
  EXPECT_EQ(piece.consumed, 5u);
  EXPECT_TRUE(coder.done());
}

TEST(BodyCoder, IsIncompleteWhenTheStreamEndsWithinALength) {
  BodyCoder coder({BodyFraming::kLength, 5}, false);
  EXPECT_EQ(pass(coder, "hell").out, "hell");
  std::string out;
  EXPECT_FALSE(coder.end(out));
}

TEST(BodyCoder, FramesChunksAnewAndDropsExtensionsAndTrailers) {
  for (const std::size_t step : {1u, 2u, 7u, 1000u}) {
    BodyCoder coder(kChunkedIn, true);
    std::string scratch;
    std::string body;
    const std::string_view in = "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n";
    const Passed passed = pass(coder, in, step);
    EXPECT_TRUE(coder.done());
    EXPECT_EQ(passed.payload, 6u);
    EXPECT_EQ(passed.consumed, in.size());
    BodyReader reader(kChunkedIn, 100);
    std::size_t consumed = 0;
    EXPECT_EQ(reader.read(passed.out, consumed), ParseState::kDone);
    EXPECT_EQ(reader.body(), "hello!");
    EXPECT_EQ(passed.out.find("Trailer"), std::string::npos);
  }
}

TEST(BodyCoder, TakesChunksApartForAnOldClient) {
  BodyCoder coder(kChunkedIn, false);
  EXPECT_EQ(pass(coder, "2\r\nhi\r\n0\r\n\r\n", 3).out, "hi");
  EXPECT_TRUE(coder.done());
}

TEST(BodyCoder, MakesChunksOfWhatLastsUntilTheEnd) {
  BodyCoder coder(kUntilCloseIn, true);
  Passed passed = pass(coder, "abcd", 2);
  EXPECT_FALSE(coder.done());
  EXPECT_TRUE(coder.end(passed.out));
  EXPECT_EQ(passed.out, "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n");
}

TEST(BodyCoder, LeavesWhatFollowsAlone) {
  BodyCoder coder(kChunkedIn, true);
  std::string scratch;
  const std::string_view in = "1\r\na\r\n0\r\n\r\n";
  const BodyCoder::Piece piece = coder.take(std::string(in) + "GET / HTTP/1.1", scratch);
  EXPECT_EQ(piece.consumed, in.size());
}

TEST(BodyCoder, PassesNothingOnAfterAFault) {
  BodyCoder coder(kChunkedIn, true);
  std::string scratch;
  EXPECT_EQ(coder.take("1\r\na\r\nxyz\r\n", scratch).bytes, "1\r\na\r\n");
  EXPECT_FALSE(coder.fault().empty());
  EXPECT_EQ(coder.take("1\r\nb\r\n", scratch).consumed, 0u);
  EXPECT_FALSE(coder.end(scratch));
}

}  // namespace
}  // namespace sluice::http
