#include "tests/bench/options.h"

#include <gtest/gtest.h>

namespace sluice::bench {
namespace {

absl::StatusOr<Options> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "bench_load");
  return parse_options(static_cast<int>(words.size()), words.data());
}

TEST(Options, UrlGivesHostPortPathAndTls) {
  const absl::StatusOr<Target> target = parse_url("wss://127.0.0.1:8099/echo/v1?a=b");
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_TRUE(target->tls);
  EXPECT_EQ(target->host, "127.0.0.1");
  EXPECT_EQ(target->authority, "127.0.0.1:8099");
  EXPECT_EQ(target->path, "/echo/v1?a=b");
}

TEST(Options, UrlOfAnIpv6AddressKeepsItsBracketsInTheAuthority) {
  const absl::StatusOr<Target> target = parse_url("ws://[::1]:9/");
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_EQ(target->host, "::1");
  EXPECT_EQ(target->authority, "[::1]:9");
}

TEST(Options, UrlOfAnotherSchemeIsRefused) {
  EXPECT_FALSE(parse_url("http://127.0.0.1/").ok());
  EXPECT_FALSE(parse_url("ws://127.0.0.1:99999/").ok());
}

TEST(Options, FlagsFillTheOptions) {
  const auto options = parse({"rate", "--urls", "ws://127.0.0.1:1/,ws://127.0.0.1:2/", "--rate",
                              "100", "--seconds", "1.5", "--cpu-of", "1,2", "--token", "t"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->targets.size(), 2U);
  EXPECT_EQ(options->duration, milliseconds(1500));
  EXPECT_EQ(options->cpu_of, (std::vector<pid_t>{1, 2}));
  EXPECT_EQ(options->tokens, std::vector<std::string>{"t"});
}

TEST(Options, WhatCannotRunIsRefused) {
  EXPECT_FALSE(parse({"echo", "--port", "1"}).ok()) << "no end";
  EXPECT_FALSE(parse({"echo", "--seconds", "1"}).ok()) << "no target";
  EXPECT_FALSE(parse({"rate", "--port", "1", "--seconds", "1"}).ok()) << "no rate";
  EXPECT_FALSE(parse({"dance", "--port", "1"}).ok());
  EXPECT_FALSE(parse({"echo", "--port", "1", "--seconds", "1", "--bytes", "23"}).ok());
  EXPECT_FALSE(parse({"echo", "--port", "1", "--seconds", "1", "--tokens", "/nowhere"}).ok());
}

}  // namespace
}  // namespace sluice::bench
