#include "controlplane/api/editor.h"

#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "controlplane/api/test_world.h"

namespace sluice::controlplane::api {
namespace {

using config::v1::Api;
using config::v1::GatewayGroup;

model::Resource resource(const char* kind, std::string name,
                         std::shared_ptr<const model::Message> spec) {
  model::Resource made;
  made.key = {kind, std::move(name)};
  made.spec = std::move(spec);
  return made;
}

Editor::Wish put(const model::Resource& resource) {
  return [resource](model::Draft& draft, std::vector<model::Fault>&) {
    draft.put(resource);
    return absl::OkStatus();
  };
}

model::Resource api(const std::string& name, Api spec) {
  return resource("Api", name, std::make_shared<Api>(std::move(spec)));
}

model::Resource group(const std::string& name, bool local) {
  auto spec = std::make_shared<GatewayGroup>();
  spec->set_allow_local_endpoints(local);
  return resource("GatewayGroup", name, spec);
}

TEST(Editor, SeedsOnceAndReadsAllAgain) {
  World world;
  const std::int64_t revision = world.store->revision("default");
  ASSERT_TRUE(world.editor->seed(model::first_resources({})).ok());
  EXPECT_EQ(world.store->revision("default"), revision);
  world.editor = Editor::open({*world.store, world.registry, "default", {}}).value();
  EXPECT_EQ(world.editor->snapshot()->listeners().size(), 2U);
  EXPECT_NE(world.editor->snapshot()->find_compiled_plan("Gold"), nullptr);
}

TEST(Editor, CompilesWhatItCommits) {
  World world;
  ASSERT_TRUE(world.editor->edit(put(api("echo", World::echo_spec()))).ok());
  EXPECT_NE(world.editor->snapshot()->find_api("echo"), nullptr);
  const auto outcome = world.editor->edit(put(api("dry", World::echo_spec("/dry"))), true);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->edits.size(), 1U);
  EXPECT_EQ(world.editor->snapshot()->find_api("dry"), nullptr);
  EXPECT_TRUE(absl::IsNotFound(world.store->get("default", "Api", "dry").status()));
}

TEST(Editor, TakesWhatOthersCommitted) {
  World world;
  store::Write write = write_of(api("echo", World::echo_spec()));
  ASSERT_TRUE(world.store->commit("default", {write}).ok());
  EXPECT_NE(world.editor->snapshot()->find_api("echo"), nullptr);
  write.spec.reset();
  write.labels.reset();
  ASSERT_TRUE(world.store->commit("default", {write}).ok());
  EXPECT_EQ(world.editor->snapshot()->find_api("echo"), nullptr);
}

TEST(Editor, TriesAgainWhenAnotherChangeCameFirst) {
  World world;
  int calls = 0;
  const auto wish = [&](model::Draft& draft, std::vector<model::Fault>&) {
    if (++calls == 1) {
      // Between this draft and its commit.
      EXPECT_TRUE(
          world.store->commit("default", {write_of(api("first", World::echo_spec("/first")))})
              .ok());
    }
    draft.put(api("second", World::echo_spec("/second")));
    return absl::OkStatus();
  };
  ASSERT_TRUE(world.editor->edit(wish).ok());
  EXPECT_EQ(calls, 2);
  EXPECT_NE(world.editor->snapshot()->find_api("first"), nullptr);
  EXPECT_NE(world.editor->snapshot()->find_api("second"), nullptr);
}

TEST(Editor, RefusesItsOwnAddressesUnlessTheGroupAllowsThem) {
  World world;
  Api spec = World::echo_spec();
  spec.mutable_endpoints()->set_production(0, "ws://127.0.0.1:9901/");
  const absl::Status refused = world.editor->edit(put(api("echo", spec))).status();
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  spec.add_groups("lab");
  ASSERT_TRUE(world.editor->edit(put(group("lab", true))).ok());
  ASSERT_TRUE(world.editor->edit(put(api("echo", spec))).ok());
  // And the group cannot take back what its APIs use.
  const absl::Status closed = world.editor->edit(put(group("lab", false))).status();
  EXPECT_NE(message_of(closed).find("Api echo"), std::string_view::npos) << closed;
  ASSERT_TRUE(world.editor->edit(put(group("unused", true))).ok());
  EXPECT_TRUE(world.editor->edit(put(group("unused", false))).ok());
  EXPECT_NE(world.editor->snapshot()->find_api("echo"), nullptr);
}

TEST(Editor, LeavesEverythingWhenTheStoreRefuses) {
  World world;
  const auto both = [&](model::Draft& draft, std::vector<model::Fault>&) {
    draft.put(api("good", World::echo_spec("/good")));
    Api bad = World::echo_spec("/bad");
    bad.add_plans("None");
    draft.put(api("bad", bad));
    return absl::OkStatus();
  };
  const std::int64_t revision = world.store->revision("default");
  EXPECT_FALSE(world.editor->edit(both).ok());
  EXPECT_EQ(world.store->revision("default"), revision);
  EXPECT_EQ(world.editor->snapshot()->find_api("good"), nullptr);
}

TEST(Editor, TakesEditsFromManyThreads) {
  World world;
  std::atomic<int> made = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 10; ++n) {
        const std::string name = fmt::format("api-{}-{}", i, n);
        made += world.editor->edit(put(api(name, World::echo_spec("/" + name)))).ok() ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(made, 40);
  EXPECT_EQ(world.store->count("default", "Api").value(), 40);
}

// One edit among many APIs costs no compile of the many.
TEST(Editor, EditsOneOfManyApisQuickly) {
  World world;
  std::vector<store::Write> writes;
  for (int i = 0; i < 2000; ++i) {
    writes.push_back(
        write_of(api(fmt::format("a{}", i), World::echo_spec(fmt::format("/a{}", i)))));
  }
  ASSERT_TRUE(world.store->commit("default", std::move(writes)).ok());
  ASSERT_EQ(world.editor->snapshot()->apis().size(), 2000U);
  const auto before = world.editor->snapshot()->find_api("a7");
  Api spec = World::echo_spec("/a8");
  spec.set_description("edited");
  ASSERT_TRUE(world.editor->edit(put(api("a8", spec))).ok());
  EXPECT_EQ(world.editor->snapshot()->find_api("a7"), before);
}

}  // namespace
}  // namespace sluice::controlplane::api
