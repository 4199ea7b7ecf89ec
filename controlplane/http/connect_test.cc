#include "controlplane/http/connect.h"

#include <gtest/gtest.h>

#include "sluice/admin/v1/resources.pb.h"

namespace sluice::controlplane::http {
namespace {

std::string fault_of(std::string_view json) {
  admin::v1::CreateApiRequest request;
  const absl::Status status = message_from_json(json, request);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(message_of(status));
}

TEST(Connect, MapsCodesAsItsSpecificationSays) {
  EXPECT_EQ(connect_code(absl::StatusCode::kCancelled), "canceled");
  EXPECT_EQ(connect_http_status(absl::StatusCode::kCancelled), 499);
  EXPECT_EQ(connect_code(absl::StatusCode::kFailedPrecondition), "failed_precondition");
  EXPECT_EQ(connect_http_status(absl::StatusCode::kFailedPrecondition), 400);
  EXPECT_EQ(connect_http_status(absl::StatusCode::kUnauthenticated), 401);
  EXPECT_EQ(connect_http_status(absl::StatusCode::kAlreadyExists), 409);
  EXPECT_EQ(connect_http_status(absl::StatusCode::kDeadlineExceeded), 504);
  EXPECT_EQ(connect_code(static_cast<absl::StatusCode>(99)), "unknown");
}

TEST(Connect, WritesErrorsAsJson) {
  EXPECT_EQ(connect_error(not_found("no \"x\"\n")),
            R"({"code":"not_found","message":"no \"x\"\n"})");
}

TEST(Connect, ReadsBothSpellingsAndWritesTheCanonicalOne) {
  admin::v1::CreateApiRequest request;
  ASSERT_TRUE(message_from_json(
                  R"({"api":{"name":"a","spec":{"default_version":true,"throttleNotice":"n",
                      "limits":{"message_bytes_max":"9007199254740993","pingInterval":"1.5s"}}}})",
                  request)
                  .ok());
  EXPECT_EQ(request.api().spec().limits().message_bytes_max(), 9007199254740993u);
  EXPECT_EQ(*message_to_json(request),
            R"({"api":{"name":"a","spec":{"defaultVersion":true,"throttleNotice":"n",)"
            R"("limits":{"messageBytesMax":"9007199254740993","pingInterval":"1.500s"}}}})");
}

TEST(Connect, TakesAnEmptyBodyForAnEmptyMessage) {
  admin::v1::CreateApiRequest request;
  request.mutable_api()->set_name("left over");
  EXPECT_TRUE(message_from_json("", request).ok());
  EXPECT_FALSE(request.has_api());
}

TEST(Connect, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(fault_of(R"({"api":{"spec":{"contxt":"/a"}}})"),
            "api.spec.contxt: there is no such field");
  EXPECT_EQ(fault_of(R"({"foo":1})"), "foo: there is no such field");
  EXPECT_EQ(fault_of(R"({"api":{"name":5}})"), "api.name: invalid value 5 for type TYPE_STRING");
  EXPECT_EQ(fault_of(R"({"api":{"spec":{"state":"NOPE"}}})").rfind("api.spec.state: invalid", 0),
            0u);
}

TEST(Connect, RefusesWhatIsNoMessage) {
  for (const char* text : {"[]", "\"x\"", "{", "{} x", "nonsense", "{\"api\":}"}) {
    EXPECT_NE(fault_of(text), "") << text;
  }
  std::string deep;
  for (int i = 0; i < 10'000; ++i) {
    deep += "{\"api\":";
  }
  EXPECT_NE(fault_of(deep), "");
}

TEST(Connect, ReadsItsTimeout) {
  EXPECT_EQ(*parse_connect_timeout("1500"), milliseconds(1500));
  EXPECT_EQ(*parse_connect_timeout("9999999999"), milliseconds(9999999999));
  for (const char* text : {"", "12345678901", "-1", "1s", " 1"}) {
    EXPECT_FALSE(parse_connect_timeout(text).ok()) << text;
  }
}

}  // namespace
}  // namespace sluice::controlplane::http
