#include "proxy/config/static_config.h"

#include <filesystem>
#include <limits>
#include <set>

#include "filters/all.h"
#include "proxy/config/default_plans.h"
#include "proxy/config/manifest.h"
#include "proxy/config/testing.h"

namespace sluice::config {
namespace {

constexpr char kWhole[] = R"(
kind: Listener
name: ws
spec: {address: 127.0.0.1, port: 0}
---
kind: Api
name: echo
spec:
  context: /echo
  version: v1
  state: PUBLISHED
  plans: [Gold]
  endpoints: {production: ["ws://127.0.0.1:9100/"]}
---
kind: Application
name: app
---
kind: Subscription
spec: {application: app, api: echo, plan: Gold}
---
kind: Token
spec:
  {sha256: 6E340B9CFFB37A989CA544E6BB780A2C78901D3FB33738768511A30617AFA01D, application: app,
   key_type: SANDBOX}
)";

class Static : public testing::CompileTest {
 protected:
  Static() { context.mode = Mode::kAllOrNothing; }

  static std::string fault(const std::string& text) { return load_static(text, "s.yaml").text({}); }
};

TEST_F(Static, MakesAWholeGateway) {
  const StaticConfig loaded = load_static(kWhole, "s.yaml");
  ASSERT_TRUE(loaded.faults.empty()) << loaded.text({});
  EXPECT_TRUE(loaded.warnings.empty()) << loaded.warnings[0];
  const CompileResult result = apply(loaded.delta);
  ASSERT_TRUE(result.faults.empty()) << loaded.text(result.faults);
  EXPECT_EQ(route("/echo/v1"), "echo ");
  EXPECT_EQ(snapshot->find_plan("Bronze")->messages, 1000u);
  Directory directory(std::numeric_limits<std::size_t>::max());
  EXPECT_EQ(directory.assign(loaded.identities).size(), 2u);
  const auto identity = directory.find(sha256(std::string_view("\0", 1)));
  ASSERT_TRUE(identity.has_value());
  EXPECT_EQ(identity->token->key_type, model::KeyType::kSandbox);
  EXPECT_EQ(identity->grants->application.plan, "Unlimited");
  EXPECT_EQ(identity->grants->find("echo")->plan, "Gold");
  EXPECT_EQ(identity->grants->find("other"), nullptr);
}

TEST_F(Static, SaysWhereACompileFaultStands) {
  const auto loaded = load_static(std::string(kWhole) +
                                      "---\nkind: Api\nname: bad\nspec:\n"
                                      "  context: /b\n  version: v1\n  endpoints:\n    sandbox:\n"
                                      "    - ftp://x/\n",
                                  "s.yaml");
  EXPECT_TRUE(loaded.faults.empty()) << loaded.text({});
  EXPECT_EQ(loaded.warnings.size(), 1u);
  const CompileResult result = apply(loaded.delta);
  EXPECT_EQ(loaded.text(result.faults),
            "s.yaml:33: Api bad: spec.endpoints.sandbox[0]: 'ftp://' is not ws://, wss://, http:// "
            "or https://");
  EXPECT_EQ(snapshot->find_api("echo"), nullptr);
}

TEST_F(Static, ReadAgainRemovesWhatIsGone) {
  auto loaded = load_static(std::string(kWhole) + "---\nkind: Plan\nname: Extra\n", "s.yaml");
  apply(loaded.delta);
  EXPECT_NE(snapshot->find_plan("Extra"), nullptr);
  auto again = load_static(kWhole, "s.yaml");
  add_removals(again.delta, *snapshot);
  EXPECT_EQ(changed(apply(again.delta)), testing::Strings{"plan Extra"});
  EXPECT_EQ(snapshot->find_plan("Extra"), nullptr);
  // Where the file replaces a default plan and later does not, the default is back.
  auto replaced = load_static(
      std::string(kWhole) + "---\nkind: Plan\nname: Gold\nspec: {messages: 7}\n", "s.yaml");
  apply(replaced.delta);
  EXPECT_EQ(snapshot->find_plan("Gold")->messages, 7u);
  again = load_static(kWhole, "s.yaml");
  add_removals(again.delta, *snapshot);
  apply(again.delta);
  EXPECT_EQ(snapshot->find_plan("Gold")->messages, 5000u);
}

TEST_F(Static, TellsEveryFaultAtOnceAndNoneTwice) {
  // What cannot be read, what does not hold together and what does not compile.
  const StaticConfig loaded = load_static(R"(kind: Listener
name: ws
spec: {address: 127.0.0.1, port: many}
---
kind: Api
name: echo
spec:
  context: [echo]
  version: v1
  colour: red
  state: PUBLISHED
  plans: [Golden]
  endpoints: {production: ["ftp://127.0.0.1:9100/"]}
---
kind: Plan
name: Golden
spec: {messages: lots}
---
kind: Apis
name: x
---
kind: Application
name: app
spec: {plan: Nothing}
---
kind: Subscription
spec: {application: nobody, api: echo, plan: Golden}
)",
                                          "s.yaml");
  const CompileResult result = apply(loaded.delta);
  const std::string text = loaded.text(result.faults);
  const std::vector<std::string> wanted = {
      "s.yaml:19: kind 'Apis'",
      "s.yaml:3: Listener ws: spec.port",
      "s.yaml:8: Api echo: spec.context",
      "s.yaml:10: Api echo: spec.colour",
      "s.yaml:17: Plan Golden: spec.messages",
      "s.yaml:24: Application app: spec.plan",
      "s.yaml:27: Subscription nobody:echo: spec.application",
      "s.yaml:13: Api echo: spec.endpoints.production[0]",
  };
  for (const std::string& one : wanted) {
    EXPECT_NE(text.find(one), std::string::npos) << one << " is not in\n" << text;
  }
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n') + 1,
            static_cast<std::ptrdiff_t>(wanted.size()))
      << text;
  EXPECT_EQ(result.snapshot->find_api("echo"), nullptr);
}

TEST_F(Static, RefusesWhatDoesNotHoldTogether) {
  EXPECT_NE(fault("kind: User\nname: u\n").find("s.yaml:1: User u: a static file holds Listener"),
            std::string::npos);
  const std::string whole = kWhole;
  EXPECT_EQ(fault(whole + "---\nkind: Subscription\nspec: {application: x, api: y, plan: Gold}\n"),
            "s.yaml:27: Subscription x:y: spec.application: there is no Application 'x' in this "
            "file\ns.yaml:27: Subscription x:y: spec.api: there is no Api 'y' in this file");
  EXPECT_EQ(fault(whole + "---\nkind: Application\nname: b\n---\nkind: Subscription\nspec: "
                          "{application: b, api: echo, plan: Silver}\n"),
            "s.yaml:30: Subscription b:echo: spec.plan: 'Silver' is not one of the plans of Api "
            "echo (Gold)");
  EXPECT_EQ(
      fault(whole + "---\nkind: Application\nname: b\nspec: {plan: Gold}\n"),
      "s.yaml:28: Application b: spec.plan: Plan Gold is not for applications (its levels say)");
  EXPECT_NE(fault(whole + "---\nkind: Application\nname: b\nspec: {plan: None}\n"), "");
  EXPECT_NE(fault(whole + "---\nkind: Token\nname: x\nspec: {application: app}\n"), "");
  EXPECT_NE(fault(whole + "---\nkind: Token\nspec: {sha256: abc, application: app}\n"), "");
  EXPECT_NE(fault(whole + "---\nkind: Token\nspec: {sha256: '" + std::string(64, 'a') +
                  "', application: none}\n"),
            "");
  EXPECT_NE(fault(whole +
                  "---\nkind: Token\nspec: {sha256: "
                  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d, application: "
                  "app}\n")
                .find("stands twice"),
            std::string::npos);
}

TEST_F(Static, WarnsOfWhatServesNobody) {
  const StaticConfig loaded =
      load_static("kind: Api\nname: a\nspec: {context: /a, version: v1, groups: [x]}\n", "s.yaml");
  EXPECT_TRUE(loaded.faults.empty());
  EXPECT_EQ(loaded.warnings.size(), 3u);
  EXPECT_EQ(loaded.warnings[0],
            "s.yaml:1: Api a: is CREATED and answers 404; write `state: PUBLISHED` to serve it");
}

// ---- deploy/samples, compiled with the filters that programs have

class Samples : public Static {
 protected:
  Samples() : real_context{real, shared, Mode::kAllOrNothing, {}, {}, {}} {
    filters::add_all_to(real);
  }

  CompileResult compile_really(const Delta& delta) {
    CompileResult result = compile(nullptr, delta, real_context);
    snapshot = result.snapshot;
    return result;
  }

  filter::FilterRegistry real;
  CompileContext real_context;
};

std::vector<std::string> sample_files() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(SLUICE_SAMPLES)) {
    if (entry.path().extension() == ".yaml") {
      files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string content_of(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  std::string text(std::filesystem::file_size(path), '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  return text;
}

TEST_F(Samples, OfEveryKindAreTrue) {
  std::set<std::string> kinds;
  Delta delta;
  for (const NamedPlan& named : default_plans()) {
    delta.upserts.push_back({Kind::kPlan, named.name, "1", named.plan.SerializeAsString()});
  }
  const auto certificate = testing::make_certificate("localhost");
  for (const std::string& file : sample_files()) {
    const auto manifests = load_manifests(content_of(file), file);
    ASSERT_TRUE(manifests.ok()) << manifests.status();
    const std::string base = std::filesystem::path(file).filename().string();
    for (Manifest manifest : *manifests) {
      kinds.insert(manifest.kind);
      if (manifest.kind == "Secret") {
        (*manifest.spec.mutable_fields())["certificate_pem"].set_string_value(
            certificate.certificate_pem);
        (*manifest.spec.mutable_fields())["private_key_pem"].set_string_value(certificate.key_pem);
      }
      const auto message = to_resource(manifest);
      ASSERT_TRUE(message.ok()) << message.status();
      const auto kind = kind_from_name(manifest.kind);
      if (base != "static.yaml" && base != "quickstart.yaml" && kind && *kind < Kind::kToken) {
        delta.upserts.push_back({*kind, manifest.name, "1", (*message)->SerializeAsString()});
      }
    }
  }
  for (const std::string& kind : manifest_kinds()) {
    if (kind != "Credential") {  // made by `keys generate`, not by a file
      EXPECT_EQ(kinds.count(kind), 1u) << "no sample of " << kind;
    }
  }
  const CompileResult result = compile_really(delta);
  EXPECT_TRUE(result.faults.empty()) << text(result.faults);
}

TEST_F(Samples, OfAStaticFileServesItsToken) {
  const auto loaded = load_static_file(std::string(SLUICE_SAMPLES) + "/static.yaml");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(loaded->warnings.empty());
  const CompileResult result = compile_really(loaded->delta);
  ASSERT_TRUE(result.faults.empty()) << loaded->text(result.faults);
  EXPECT_EQ(route("/echowebsocket/v1.0"), "echo-v1 ");
  Directory directory;
  directory.assign(loaded->identities);
  const auto identity = directory.find(sha256("sample-token-do-not-use"));
  ASSERT_TRUE(identity.has_value());
  EXPECT_NE(identity->grants->find("echo-v1"), nullptr);
}

}  // namespace
}  // namespace sluice::config
