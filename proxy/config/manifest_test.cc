#include "proxy/config/manifest.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "sluice/config/v1/config.pb.h"

namespace sluice::config {
namespace {

Manifest one(std::string_view text) {
  auto manifests = load_manifests(text, "f.yaml");
  EXPECT_TRUE(manifests.ok()) << manifests.status();
  return manifests.ok() && manifests->size() == 1 ? manifests->front() : Manifest{};
}

std::string load_fault(std::string_view text) {
  auto manifests = load_manifests(text, "f.yaml");
  return manifests.ok() ? "" : std::string(message_of(manifests.status()));
}

template <class Spec>
Spec typed(std::string_view text) {
  auto message = to_resource(one(text));
  EXPECT_TRUE(message.ok()) << message.status();
  Spec spec;
  if (message.ok()) {
    spec.CopyFrom(**message);
  }
  return spec;
}

std::string type_fault(std::string_view text) {
  auto message = to_resource(one(text));
  return message.ok() ? "" : std::string(message_of(message.status()));
}

TEST(Manifest, ReadsSeveralDocumentsAndSkipsEmptyOnes) {
  const auto manifests = load_manifests(
      "---\n---\nkind: Plan\nname: A\nlabels: {team: x, n: 1}\n---\n# nothing\n---\n"
      "kind: Plan\nname: B\nspec:\n  messages: 5\n",
      "f.yaml");
  ASSERT_TRUE(manifests.ok()) << manifests.status();
  ASSERT_EQ(manifests->size(), 2u);
  EXPECT_EQ((*manifests)[0].labels.at("n"), "1");
  EXPECT_EQ((*manifests)[1].name, "B");
  EXPECT_EQ((*manifests)[1].line, 9);
  EXPECT_EQ((*manifests)[1].place("spec.messages"), "f.yaml:12: ");
  EXPECT_EQ((*manifests)[1].place("spec.other[3].x"), "f.yaml:9: ");
  EXPECT_EQ(Manifest{}.place("spec"), "");
  EXPECT_TRUE(load_manifests("", "f")->empty());
}

TEST(Manifest, ReadsJson) {
  const auto plan = typed<v1::Plan>(
      R"({"kind": "Plan", "name": "P", 
          "spec": {"messages": "5000", "onLimit": "drop", "per": "60s"}})");
  EXPECT_EQ(plan.messages(), 5000u);
  EXPECT_EQ(plan.on_limit(), "drop");
  EXPECT_EQ(plan.per().seconds(), 60);
}

TEST(Manifest, KeepsTextsThatLookLikeNumbers) {
  const auto api = typed<v1::Api>(
      "kind: Api\nname: a\nspec:\n  context: /a\n  version: 1.0\n  description: true\n"
      "  plans: [50PerMin, 7]\n");
  EXPECT_EQ(api.version(), "1.0");
  EXPECT_EQ(api.description(), "true");
  EXPECT_EQ(api.plans(1), "7");
}

TEST(Manifest, ReadsEveryTypeOfField) {
  const auto api = typed<v1::Api>(R"(
kind: Api
name: a
spec:
  type: WS
  state: PUBLISHED
  default_version: true
  endpoints:
    production: ["ws://a/"]
    tls: {server_name: x}
  limits: {message_bytes_max: 18446744073709551615, ping_interval: 0s, age_max: 1h30m}
  filters:
  - name: throttling
    config: {deep: {list: [1, true, text, null]}}
  refuse_by:
)");
  EXPECT_EQ(api.state(), v1::Api::PUBLISHED);
  EXPECT_EQ(api.limits().message_bytes_max(), 18446744073709551615ULL);
  EXPECT_TRUE(api.limits().has_ping_interval());
  EXPECT_EQ(api.limits().age_max().seconds(), 5400);
  EXPECT_EQ(api.endpoints().tls().server_name(), "x");
  const auto& list =
      api.filters(0).config().fields().at("deep").struct_value().fields().at("list").list_value();
  EXPECT_EQ(list.values(0).number_value(), 1);
  EXPECT_TRUE(list.values(1).bool_value());
  EXPECT_EQ(list.values(2).string_value(), "text");
  EXPECT_EQ(list.values(3).kind_case(), google::protobuf::Value::kNullValue);
  const auto token = typed<v1::Token>("kind: Token\nspec: {sha256: \"" + std::string(64, 'a') +
                                      "\", expires: 2027-01-31T12:00:00Z}");
  EXPECT_EQ(token.expires().seconds(), 1801396800);
}

TEST(Manifest, RefusesDocumentsWithTheirLines) {
  EXPECT_EQ(load_fault("kind: Plan\nname: [\n").rfind("f.yaml:3: is no YAML", 0), 0u)
      << load_fault("kind: Plan\nname: [\n");
  EXPECT_EQ(load_fault("- a\n"), "f.yaml:1: a document is a mapping with kind, name and spec");
  EXPECT_EQ(load_fault("kind: Plann\nname: x\n"),
            "f.yaml:1: kind 'Plann' is not GatewayGroup, Secret, Upstream, Plan, Listener, Api, "
            "Application, Subscription, Credential, Token or User (did you mean Plan?)");
  EXPECT_EQ(load_fault("kind: Plan\nname: x\nspecs: {}\n"),
            "f.yaml:3: 'specs' is not kind, name, labels or spec (did you mean spec?)");
  EXPECT_EQ(load_fault("kind: Plan\nname: x\nname: y\n"), "f.yaml:3: name stands twice");
  EXPECT_EQ(load_fault("kind: Plan\nname: x\nspec:\n  messages: 1\n  bytes: 2\n  messages: 3\n"),
            "f.yaml:6: Plan x: spec.messages stands twice");
  EXPECT_EQ(load_fault("kind: Plan\nname: x\nspec: 5\n"),
            "f.yaml:3: Plan x: spec: a mapping is needed");
  EXPECT_EQ(load_fault("kind: Plan\nname: x\n---\nkind: Plan\nname: x\n"),
            "f.yaml:4: Plan x: stands in line 1 already");
  EXPECT_NE(load_fault("kind: Plan\nname: 'a/b'\n").find("f.yaml:2: Plan: name 'a/b': a name is"),
            std::string::npos);
  EXPECT_NE(load_fault("kind: Plan\nname: x\nlabels: [a]\n"), "");
  EXPECT_NE(load_fault("name: x\n"), "");
  // All of them at once.
  const std::string both = load_fault("kind: X\n---\nkind: Plan\nname: x\nfoo: 1\n");
  EXPECT_EQ(std::count(both.begin(), both.end(), '\n'), 1) << both;
}

TEST(Manifest, ComposesNames) {
  EXPECT_EQ(one("kind: Subscription\nspec: {application: a, api: b}").name, "a:b");
  EXPECT_EQ(one("kind: Credential\nspec: {application: a, key_type: SANDBOX}").name, "a:SANDBOX");
  EXPECT_EQ(one("kind: Subscription\nname: 'a:b'\nspec: {application: a, api: b}").name, "a:b");
  EXPECT_EQ(load_fault("kind: Subscription\nname: x\nspec: {application: a, api: b}"),
            "f.yaml:2: Subscription: name 'x' must be left out, or be a:b");
}

TEST(Manifest, NamesEveryFieldThatDoesNotFit) {
  EXPECT_EQ(type_fault("kind: Plan\nname: x\nspec:\n  mesages: 1\n"),
            "f.yaml:4: Plan x: spec.mesages: there is no such field (did you mean messages?)");
  EXPECT_NE(type_fault("kind: Secret\nname: x\nspec:\n  zzzzzzz: 1\n")
                .find("there are certificate_pem, private_key_pem"),
            std::string::npos);
  EXPECT_EQ(type_fault("kind: Plan\nname: x\nspec: {messages: -1}"),
            "f.yaml:3: Plan x: spec.messages: a whole number from 0 to 18446744073709551615 is "
            "needed, not -1");
  EXPECT_NE(type_fault("kind: Plan\nname: x\nspec: {messages: 1.5}"), "");
  EXPECT_NE(type_fault("kind: Plan\nname: x\nspec: {messages: many}"), "");
  EXPECT_NE(type_fault("kind: Plan\nname: x\nspec: {messages: [1]}"), "");
  EXPECT_EQ(
      type_fault("kind: Plan\nname: x\nspec:\n  per: 60\n"),
      "f.yaml:4: Plan x: spec.per: a duration such as 30s, 500ms, 5m or 1h is needed, not 60");
  EXPECT_EQ(type_fault("kind: Api\nname: x\nspec:\n  plans: Gold\n"),
            "f.yaml:4: Api x: spec.plans: a list is needed, not 'Gold'");
  EXPECT_EQ(
      type_fault("kind: Api\nname: x\nspec:\n  endpoints:\n    production:\n    - a\n    - {}\n"),
      "f.yaml:7: Api x: spec.endpoints.production[1]: a text is needed, not a mapping; give "
      "it in quotes");
  EXPECT_EQ(
      type_fault("kind: Api\nname: x\nspec: {state: PUBLISH}"),
      "f.yaml:3: Api x: spec.state: 'PUBLISH' is not CREATED, PROTOTYPED, PUBLISHED, BLOCKED, "
      "DEPRECATED or RETIRED (did you mean PUBLISHED?)");
  EXPECT_NE(type_fault("kind: Api\nname: x\nspec: {state: STATE_UNSPECIFIED}"), "");
  EXPECT_EQ(type_fault("kind: Api\nname: x\nspec: {default_version: yes}"),
            "f.yaml:3: Api x: spec.default_version: true or false is needed, not 'yes'");
  EXPECT_NE(type_fault("kind: Api\nname: x\nspec: {endpoints: [a]}"), "");
  EXPECT_NE(type_fault("kind: Token\nspec: {sha256: a, expires: tomorrow}"), "");
  const std::string both = type_fault("kind: Plan\nname: x\nspec: {a: 1, b: 2}");
  EXPECT_EQ(std::count(both.begin(), both.end(), '\n'), 1);
}

TEST(Manifest, StopsAtDepth) {
  const std::string deep = std::string(40, '[') + std::string(40, ']');
  EXPECT_NE(load_fault("kind: Plan\nname: x\nspec: {x: " + deep + "}").find("levels deep"),
            std::string::npos);
}

TEST(Manifest, ComesBackAsItWasWritten) {
  const std::string text = R"(kind: Api
name: a
labels:
  name: x
  team: "1"
spec:
  context: /a
  version: "1.0"
  default_version: true
  endpoints:
    production:
      - ws://a/
  state: PUBLISHED
  throttle_notice: |
    one
    two

  limits:
    message_bytes_max: 5000
    ping_interval: 1m30s
    idle_timeout: 500ms
  filters:
    - name: throttling
      config:
        x: "true"
        y: 1.5
        z: ~
)";
  const Manifest manifest = one(text);
  const auto message = to_resource(manifest);
  ASSERT_TRUE(message.ok()) << message.status();
  const Manifest back = to_manifest("Api", "a", manifest.labels, **message);
  EXPECT_EQ(to_yaml(back), text);
  const auto again = to_resource(one(to_yaml(back)));
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(**again, **message));
  // Texts that a block would change.
  for (const char* awkward :
       {"a\nb", "a\n\n", "\na\n", " a\nb\n", "\ttab\n", "é\n", "", "# no", "a: b", "'", "- x", "@x",
        "1e5", "0x10", "null", "{", "\x01\n", "%", "x # y"}) {
    v1::Plan plan;
    plan.set_description(awkward);
    const auto read = to_resource(one(to_yaml(to_manifest("Plan", "p", {}, plan))));
    ASSERT_TRUE(read.ok()) << read.status() << awkward;
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(**read, plan))
        << to_yaml(to_manifest("Plan", "p", {}, plan));
  }
}

TEST(Manifest, PutsTheContentOfFilesInPlaceOfReferences) {
  const std::filesystem::path dir =
      std::filesystem::path(::testing::TempDir()) / ("manifest-" + std::to_string(::getpid()));
  std::filesystem::create_directories(dir);
  std::ofstream(dir / "a.crt") << "PEM\n";
  std::ofstream(dir / "p.txt") << "secret word\n";
  std::ofstream(dir / "r.yaml") << "kind: Secret\nname: s\nspec: {certificate_pem: '@a.crt', "
                                   "private_key_pem: literal}\n---\nkind: User\nname: u\nspec: "
                                   "{display_name: '@p.txt', password: '@p.txt'}\n---\n"
                                   "kind: Api\nname: a\nspec: {endpoints: {tls: {ca: '@a.crt'}}}\n";
  const auto manifests = whole(parse_manifest_file((dir / "r.yaml").string()).value());
  ASSERT_TRUE(manifests.ok()) << manifests.status();
  const auto text = [&](std::size_t i, const char* field) {
    return (*manifests)[i].spec.fields().at(field).string_value();
  };
  EXPECT_EQ(text(0, "certificate_pem"), "PEM\n");
  EXPECT_EQ(text(0, "private_key_pem"), "literal");
  EXPECT_EQ(text(1, "password"), "secret word");
  EXPECT_EQ(text(1, "display_name"), "@p.txt");
  std::ofstream(dir / "r.yaml") << "kind: Secret\nname: s\nspec:\n  certificate_pem: '@none'\n";
  const auto missing = whole(parse_manifest_file((dir / "r.yaml").string()).value());
  EXPECT_NE(std::string(message_of(missing.status())).find("r.yaml:4: Secret s: spec.certificate"),
            std::string::npos)
      << missing.status();
  EXPECT_TRUE(absl::IsNotFound(parse_manifest_file((dir / "none").string()).status()));
  std::ofstream(dir / "empty.yaml").flush();
  EXPECT_TRUE(parse_manifest_file((dir / "empty.yaml").string())->manifests.empty());
  std::filesystem::remove_all(dir);
}

TEST(Duration, ReadsWhatItWrites) {
  for (const char* text : {"0s", "500ms", "30s", "1m30s", "1h", "26h", "1h1m1s1ms"}) {
    ASSERT_TRUE(parse_duration(text).has_value()) << text;
    EXPECT_EQ(format_duration(*parse_duration(text)), text);
  }
  EXPECT_EQ(parse_duration("1.5s"), milliseconds(1500));
  EXPECT_EQ(parse_duration("3.000000001s"), seconds(3) + nanoseconds(1));
  EXPECT_EQ(parse_duration("1d"), std::chrono::hours(24));
  EXPECT_EQ(format_duration(nanoseconds(1)), "0.000000001s");
  for (const char* text : {"", "30", "s", "1x", "-1s", "1s ", "1.2.3s", "99999999999h", "1e3s"}) {
    EXPECT_FALSE(parse_duration(text).has_value()) << text;
  }
}

TEST(DidYouMean, GuessesNearWordsOnly) {
  EXPECT_EQ(did_you_mean("mesages", {"messages", "bytes"}), " (did you mean messages?)");
  EXPECT_EQ(did_you_mean("GOLD", {"Gold"}), " (did you mean Gold?)");
  EXPECT_EQ(did_you_mean("colour", {"messages", "bytes"}), "");
  EXPECT_EQ(did_you_mean(std::string(100'000, 'a'), {"a"}), "");
}

}  // namespace
}  // namespace sluice::config
