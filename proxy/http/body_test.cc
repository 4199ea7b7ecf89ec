#include "proxy/http/body.h"

#include <gtest/gtest.h>

#include "proxy/base/limits.h"

namespace sluice::http {
namespace {

RequestHead request(std::string_view name, std::string_view value) {
  RequestHead head;
  head.headers.add(name, value);
  return head;
}

ResponseHead response(int status, std::string_view name = "", std::string_view value = "") {
  ResponseHead head;
  head.status = status;
  if (!name.empty()) {
    head.headers.add(name, value);
  }
  return head;
}

TEST(BodyFraming, OfARequest) {
  EXPECT_EQ(request_body({}).kind, BodyFraming::kNone);
  EXPECT_EQ(request_body(request("Content-Length", "0")).kind, BodyFraming::kNone);
  const BodyFraming length = request_body(request("Content-Length", "0012"));
  EXPECT_EQ(length.kind, BodyFraming::kLength);
  EXPECT_EQ(length.length, 12u);
  EXPECT_EQ(request_body(request("Transfer-Encoding", "chunked")).kind, BodyFraming::kChunked);
}

TEST(BodyFraming, OfAResponse) {
  EXPECT_EQ(response_body(response(200), "GET").kind, BodyFraming::kUntilClose);
  EXPECT_EQ(response_body(response(200, "Content-Length", "5"), "GET").length, 5u);
  EXPECT_EQ(response_body(response(200, "Content-Length", "0"), "GET").kind, BodyFraming::kNone);
  EXPECT_EQ(response_body(response(200, "Content-Length", "5"), "HEAD").kind, BodyFraming::kNone);
  for (const int bodiless : {100, 101, 204, 304}) {
    EXPECT_EQ(response_body(response(bodiless, "Transfer-Encoding", "chunked"), "GET").kind,
              BodyFraming::kNone);
  }
}

struct Decoded {
  ParseState state = ParseState::kNeedMore;
  std::string body;
  std::size_t consumed = 0;
};

// In pieces of `piece` bytes.
Decoded decode(std::string_view text, std::size_t piece) {
  Decoded out;
  ChunkDecoder decoder;
  while (out.consumed < text.size() && out.state == ParseState::kNeedMore) {
    const auto step = decoder.step(text.substr(out.consumed, piece));
    out.state = step.state;
    out.body += step.data;
    out.consumed += step.consumed;
    if (step.consumed == 0) {
      break;
    }
  }
  return out;
}

TEST(ChunkDecoder, GivesTheBodyHoweverTheBytesAreCut) {
  const std::string text = "4\r\nWiki\r\nA;n=\"v\"\r\n0123456789\r\n0\r\nT: x\r\n\r\n";
  for (std::size_t piece = 1; piece <= text.size() + 4; ++piece) {
    const Decoded d = decode(text + "NEXT", piece);
    EXPECT_EQ(d.state, ParseState::kDone);
    EXPECT_EQ(d.body, "Wiki0123456789");
    EXPECT_EQ(d.consumed, text.size());
  }
}

TEST(ChunkDecoder, ReadsWhatMakeChunkWrites) {
  const std::string text =
      make_chunk(std::string(300, 'x')) + make_chunk("y") + std::string(kLastChunk);
  EXPECT_EQ(decode(text, text.size()).body, std::string(300, 'x') + "y");
}

TEST(ChunkDecoder, RefusesWhatOthersMightReadOtherwise) {
  const std::string long_extension(limits::kChunkExtensionBytesMax + 1, 'e');
  std::string long_trailers;
  while (long_trailers.size() <= limits::kTrailerBytesMax + 200) {
    long_trailers += "T: " + std::string(96, 't') + "\r\n";
  }
  const std::string cases[] = {
      "\r\n",                               // no size
      "g\r\n",                              // no hex
      "-1\r\n",                             // sign
      "0x1\r\na\r\n",                       // prefix
      " 1\r\na\r\n",                        // space before
      "1 \r\na\r\n",                        // space after
      "1\na\r\n",                           // bare LF
      "1\ra",                               // bare CR
      "1\r\nab\r\n",                        // longer than its size
      "1\r\na\n",                           // bare LF after data
      "1000000000000000\r\n",               // 2^60
      "ffffffffffffffffffff\r\n",           // overflow
      "00000000000000000\r\n",              // endless zeros
      "1;" + long_extension + "\r\na\r\n",  // extension
      std::string("1;\0\r\na\r\n", 8),      // control byte
      "0\r\n folded\r\n\r\n",               // trailer that begins with space
      "0\r\nT: a\nX\r\n\r\n",               // bare LF in a trailer
      "0\r\nT: a\rX\r\n\r\n",               // bare CR in a trailer
      "0\r\n" + long_trailers,              // trailers without end
  };
  for (const std::string& text : cases) {
    EXPECT_EQ(decode(text, text.size()).state, ParseState::kError) << text.substr(0, 40);
    EXPECT_EQ(decode(text, 1).state, ParseState::kError) << text.substr(0, 40);
  }
}

TEST(ChunkDecoder, StaysBrokenOnceBroken) {
  ChunkDecoder decoder;
  EXPECT_EQ(decoder.step("x").state, ParseState::kError);
  EXPECT_EQ(decoder.step("1\r\na\r\n").state, ParseState::kError);
  EXPECT_FALSE(decoder.fault().empty());
}

TEST(BodyReader, ReadsEachFraming) {
  std::size_t consumed = 0;
  BodyReader none({}, 10);
  EXPECT_EQ(none.read("GET", consumed), ParseState::kDone);
  EXPECT_EQ(consumed, 0u);

  BodyReader length({BodyFraming::kLength, 5}, 5);
  EXPECT_EQ(length.read("ab", consumed), ParseState::kNeedMore);
  EXPECT_FALSE(length.end());
  EXPECT_EQ(length.read("cdeNEXT", consumed), ParseState::kDone);
  EXPECT_EQ(consumed, 3u);
  EXPECT_EQ(length.body(), "abcde");

  BodyReader chunked({BodyFraming::kChunked, 0}, 5);
  EXPECT_EQ(chunked.read("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nNEXT", consumed), ParseState::kDone);
  EXPECT_EQ(consumed, 20u);
  EXPECT_EQ(chunked.take_body(), "abcde");

  BodyReader until_close({BodyFraming::kUntilClose, 0}, 5);
  EXPECT_EQ(until_close.read("abc", consumed), ParseState::kNeedMore);
  EXPECT_TRUE(until_close.end());
  EXPECT_EQ(until_close.body(), "abc");
}

TEST(BodyReader, RefusesMoreThanItsBound) {
  std::size_t consumed = 0;
  BodyReader length({BodyFraming::kLength, 6}, 5);
  EXPECT_EQ(length.read("", consumed), ParseState::kError);
  EXPECT_TRUE(length.too_large());

  BodyReader chunked({BodyFraming::kChunked, 0}, 5);
  EXPECT_EQ(chunked.read("6\r\nabcdef\r\n", consumed), ParseState::kError);
  EXPECT_TRUE(chunked.too_large());

  BodyReader until_close({BodyFraming::kUntilClose, 0}, 5);
  EXPECT_EQ(until_close.read("abcdef", consumed), ParseState::kError);
  EXPECT_FALSE(until_close.end());

  BodyReader malformed({BodyFraming::kChunked, 0}, 5);
  EXPECT_EQ(malformed.read("zz", consumed), ParseState::kError);
  EXPECT_FALSE(malformed.too_large());
}

}  // namespace
}  // namespace sluice::http
