// For tests of this folder: a directory that goes away, and records to write.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "proxy/telemetry/record.h"

namespace sluice::telemetry {

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice.XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline Facts sample_facts(const std::string& id = "id-1") {
  Facts facts;
  facts.connection_id = id;
  facts.listener = "ws";
  facts.api = "echo-v1";
  facts.api_version = "v1.0";
  facts.application = "shop";
  facts.plan = "Gold";
  facts.user = "ann";
  facts.key_type = model::KeyType::kSandbox;
  facts.client_address = "192.0.2.7";
  facts.user_agent = "wscat/5";
  facts.topic = "/room";
  facts.endpoint = "ws://backend:9100/";
  facts.token_id = "0123456789abcdef";
  facts.begin = wall_from_ms(1'700'000'000'123);
  facts.handshake_us = 1234;
  return facts;
}

inline Record sample_record(const std::string& id = "id-1") {
  Record record;
  record.part = Part::kRefused;
  record.facts = sample_facts(id);
  record.end = wall_from_ms(1'700'000'001'456);
  record.status = 401;
  record.code = 900901;
  record.close_code = 4001;
  record.close_side = CloseSide::kProxy;
  record.reason = "The access token is not known.";
  return record;
}

inline void expect_same(const Facts& a, const Facts& b) {
  EXPECT_EQ(a.connection_id, b.connection_id);
  EXPECT_EQ(a.listener, b.listener);
  EXPECT_EQ(a.api, b.api);
  EXPECT_EQ(a.api_version, b.api_version);
  EXPECT_EQ(a.application, b.application);
  EXPECT_EQ(a.plan, b.plan);
  EXPECT_EQ(a.user, b.user);
  EXPECT_EQ(a.key_type, b.key_type);
  EXPECT_EQ(a.client_address, b.client_address);
  EXPECT_EQ(a.user_agent, b.user_agent);
  EXPECT_EQ(a.topic, b.topic);
  EXPECT_EQ(a.endpoint, b.endpoint);
  EXPECT_EQ(a.token_id, b.token_id);
  EXPECT_EQ(a.begin, b.begin);
  EXPECT_EQ(a.handshake_us, b.handshake_us);
}

inline Counts operator+(const Counts& a, const Counts& b) {
  return {a.messages_up + b.messages_up,   a.messages_down + b.messages_down,
          a.bytes_up + b.bytes_up,         a.bytes_down + b.bytes_down,
          a.throttled_up + b.throttled_up, a.throttled_down + b.throttled_down};
}

}  // namespace sluice::telemetry
