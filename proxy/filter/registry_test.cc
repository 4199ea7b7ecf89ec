#include "proxy/filter/registry.h"

#include <gtest/gtest.h>

#include "google/protobuf/duration.pb.h"
#include "google/protobuf/type.pb.h"
#include "google/protobuf/util/json_util.h"
#include "proxy/filter/config.h"

namespace sluice::filter {
namespace {

google::protobuf::Struct config_of(const std::string& json) {
  google::protobuf::Struct config;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &config).ok());
  return config;
}

// Any message will do as a filter's settings; this one has lists, enums and nested fields.
using Config = google::protobuf::Field;

struct EmptyFactory final : FilterFactory {
  explicit EmptyFactory(std::string n) : name(std::move(n)) {}
  Hooks hooks() const override { return {}; }
  std::unique_ptr<Filter> make() const override { return std::make_unique<Filter>(); }
  std::string name;
};

class RegistryTest : public testing::Test {
 protected:
  RegistryTest() {
    add_filter<Config>(registry, "sample",
                       [](const Config& config,
                          SharedState&) -> absl::StatusOr<std::shared_ptr<const FilterFactory>> {
                         if (config.number() < 0) {
                           return invalid_argument("config: number: must not be negative");
                         }
                         return std::make_shared<EmptyFactory>(config.name());
                       });
  }
  absl::Status status(const std::string& json) {
    return registry.make("sample", config_of(json), shared).status();
  }

  FilterRegistry registry;
  SharedState shared;
};

TEST_F(RegistryTest, MakesAFactoryFromSettings) {
  const auto made = registry.make("sample", config_of(R"({"name": "x", "number": 3})"), shared);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(static_cast<const EmptyFactory&>(**made).name, "x");
  EXPECT_TRUE(status("{}").ok());
}

TEST_F(RegistryTest, NamesTheFilterThatItDoesNotHave) {
  const absl::Status status = registry.make("autj", config_of("{}"), shared).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(message_of(status), "there is no filter `autj`; there are: sample");
}

TEST_F(RegistryTest, ReportsUnknownFieldsWithTheirPath) {
  EXPECT_EQ(message_of(status(R"({"nmae": "x"})")), "config.nmae: there is no such field");
  EXPECT_EQ(message_of(status(R"({"options": [{}, {"value": {}, "nmae": 1}]})")),
            "config.options[1].nmae: there is no such field");
}

TEST_F(RegistryTest, ReportsWrongTypesWithTheirPath) {
  const absl::Status wrong = status(R"({"number": "many"})");
  EXPECT_EQ(wrong.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(message_of(wrong).find("config.number: "), std::string::npos) << message_of(wrong);
  EXPECT_FALSE(status(R"({"options": 3})").ok());
  EXPECT_EQ(message_of(status(R"({"number": -1})")), "config: number: must not be negative");
}

TEST(SharedState, KeepsOneObjectPerType) {
  SharedState shared;
  *shared.get<int>() = 7;
  EXPECT_EQ(*shared.get<int>(), 7);
  EXPECT_EQ(*shared.get<long>(), 0);
}

}  // namespace
}  // namespace sluice::filter
