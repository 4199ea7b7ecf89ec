#include "controlplane/discovery/catalogue.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::discovery {
namespace {

namespace v1 = ::sluice::config::v1;
using config::Kind;
using config::ResourceKey;

std::string api(std::initializer_list<const char*> groups,
                const std::string& endpoint = "ws://x/") {
  v1::Api api;
  api.mutable_endpoints()->add_production(endpoint);
  for (const char* group : groups) {
    api.add_groups(group);
  }
  return api.SerializeAsString();
}

std::string listener(const std::string& group, const std::string& secret) {
  v1::Listener listener;
  listener.set_group(group);
  if (!secret.empty()) {
    listener.mutable_tls()->set_secret(secret);
  }
  return listener.SerializeAsString();
}

class Groups : public ::testing::Test {
 protected:
  // What `put` touched, as "group:Kind/name" in order.
  std::string put(Kind kind, const std::string& name, std::string spec) {
    Catalogue::Touched touched;
    EXPECT_TRUE(catalogue.put({kind, name}, std::move(spec), touched).ok());
    return text(touched);
  }
  std::string erase(Kind kind, const std::string& name) {
    Catalogue::Touched touched;
    catalogue.erase({kind, name}, touched);
    return text(touched);
  }
  static std::string text(const Catalogue::Touched& touched) {
    std::string text;
    for (const auto& [group, keys] : touched) {
      for (const ResourceKey& key : keys) {
        text += group + ":" + std::string(config::kind_name(key.kind)) + "/" + key.name + " ";
      }
    }
    return text;
  }
  bool sees(const std::string& group, Kind kind, const std::string& name) const {
    const bool got = catalogue.get(group, kind, name) != nullptr;
    const std::vector<std::string> names = catalogue.names(group, kind);
    EXPECT_EQ(got, std::find(names.begin(), names.end(), name) != names.end());
    return got;
  }
  Catalogue catalogue;
};

TEST_F(Groups, SeeTheirOwnApisAndTheDefaultGroupThoseWithout) {
  EXPECT_EQ(put(Kind::kApi, "a", api({})), "default:Api/a ");
  EXPECT_EQ(put(Kind::kApi, "b", api({"x", "y"})), "x:Api/b y:Api/b ");
  EXPECT_TRUE(sees("default", Kind::kApi, "a"));
  EXPECT_FALSE(sees("default", Kind::kApi, "b"));
  EXPECT_TRUE(sees("y", Kind::kApi, "b"));
  EXPECT_EQ(put(Kind::kApi, "b", api({"y"})), "x:Api/b y:Api/b ");
  EXPECT_FALSE(sees("x", Kind::kApi, "b"));
  EXPECT_EQ(erase(Kind::kApi, "b"), "y:Api/b ");
  EXPECT_FALSE(sees("y", Kind::kApi, "b"));
}

TEST_F(Groups, SeeAllPlansTheNewOnesToo) {
  EXPECT_EQ(put(Kind::kPlan, "P", ""), "");
  catalogue.add_group("fresh");
  EXPECT_TRUE(sees("fresh", Kind::kPlan, "P"));
  put(Kind::kApi, "a", api({"x"}));
  EXPECT_TRUE(sees("x", Kind::kPlan, "P"));
  EXPECT_EQ(put(Kind::kPlan, "Q", ""), "fresh:Plan/Q x:Plan/Q ");
  EXPECT_EQ(erase(Kind::kPlan, "P"), "fresh:Plan/P x:Plan/P ");
  EXPECT_FALSE(sees("x", Kind::kPlan, "P"));
}

TEST_F(Groups, SeeUpstreamsThatTheirApisReferToAndNoLonger) {
  EXPECT_EQ(put(Kind::kUpstream, "u", ""), "");
  EXPECT_EQ(put(Kind::kApi, "a", api({"x"}, "upstream:u")), "x:Upstream/u x:Api/a ");
  EXPECT_TRUE(sees("x", Kind::kUpstream, "u"));
  EXPECT_FALSE(sees("default", Kind::kUpstream, "u"));
  put(Kind::kApi, "b", api({"x"}, "upstream:u"));
  EXPECT_EQ(erase(Kind::kApi, "a"), "x:Api/a ");
  EXPECT_TRUE(sees("x", Kind::kUpstream, "u"));
  EXPECT_EQ(put(Kind::kUpstream, "u", "\x0a\x01x"), "x:Upstream/u ");
  EXPECT_EQ(put(Kind::kApi, "b", api({"x"})), "x:Upstream/u x:Api/b ");
  EXPECT_FALSE(sees("x", Kind::kUpstream, "u"));
}

TEST_F(Groups, KeepWhatTheyReferToWhenAnApiIsEdited) {
  put(Kind::kUpstream, "u", "");
  put(Kind::kApi, "a", api({"x"}, "upstream:u"));
  put(Kind::kApi, "a", api({"x", "y"}, "upstream:u"));
  EXPECT_TRUE(sees("x", Kind::kUpstream, "u"));
  EXPECT_TRUE(sees("y", Kind::kUpstream, "u"));
}

TEST_F(Groups, SeeSecretsOfTheirListenersAlone) {
  put(Kind::kListener, "wss", listener("x", "cert"));
  EXPECT_FALSE(sees("x", Kind::kSecret, "cert"));  // it is not there yet
  EXPECT_EQ(put(Kind::kSecret, "cert", ""), "x:Secret/cert ");
  EXPECT_TRUE(sees("x", Kind::kSecret, "cert"));
  EXPECT_FALSE(sees("default", Kind::kSecret, "cert"));
  put(Kind::kListener, "wss", listener("x", ""));
  EXPECT_FALSE(sees("x", Kind::kSecret, "cert"));
}

TEST_F(Groups, TellTheirListenersWhetherLocalEndpointsAreAllowed) {
  const auto allowed = [this](const std::string& group, const std::string& name) {
    v1::Listener listener;
    listener.ParseFromString(catalogue.get(group, Kind::kListener, name)->bytes);
    return listener.allow_local_endpoints();
  };
  Catalogue::Touched touched;
  put(Kind::kListener, "ws", listener("x", ""));
  put(Kind::kListener, "other", listener("y", ""));
  EXPECT_FALSE(allowed("x", "ws"));
  catalogue.set_group("x", true, touched);
  EXPECT_EQ(text(touched), "x:Listener/ws ");
  EXPECT_TRUE(allowed("x", "ws"));
  EXPECT_FALSE(allowed("y", "other"));
  put(Kind::kListener, "late", listener("x", ""));
  EXPECT_TRUE(allowed("x", "late"));
  // The group decides, not the listener.
  v1::Listener wants;
  wants.set_group("y");
  wants.set_allow_local_endpoints(true);
  put(Kind::kListener, "other", wants.SerializeAsString());
  EXPECT_FALSE(allowed("y", "other"));
  catalogue.set_group("x", false, touched);
  EXPECT_FALSE(allowed("x", "ws"));
}

TEST_F(Groups, SeeSecretsThatTheirUpstreamsShow) {
  const auto upstream = [](const std::string& secret) {
    v1::Upstream spec;
    spec.add_endpoints("wss://x/");
    spec.mutable_tls()->set_client_certificate(secret);
    return spec.SerializeAsString();
  };
  put(Kind::kSecret, "one", "");
  put(Kind::kSecret, "two", "");
  put(Kind::kUpstream, "u", upstream("one"));
  EXPECT_FALSE(sees("default", Kind::kSecret, "one"));
  EXPECT_EQ(put(Kind::kApi, "a", api({}, "upstream:u")),
            "default:Secret/one default:Upstream/u default:Api/a ");
  EXPECT_TRUE(sees("default", Kind::kSecret, "one"));
  put(Kind::kUpstream, "u", upstream("two"));
  EXPECT_FALSE(sees("default", Kind::kSecret, "one"));
  EXPECT_TRUE(sees("default", Kind::kSecret, "two"));
  erase(Kind::kApi, "a");
  EXPECT_FALSE(sees("default", Kind::kUpstream, "u"));
  EXPECT_FALSE(sees("default", Kind::kSecret, "two"));
}

TEST_F(Groups, ShareOneSerialisation) {
  put(Kind::kApi, "a", api({"x", "y"}));
  EXPECT_EQ(catalogue.get("x", Kind::kApi, "a"), catalogue.get("y", Kind::kApi, "a"));
}

TEST_F(Groups, KeepTheOldSelfOfWhatCannotBeParsed) {
  put(Kind::kApi, "a", api({"x"}));
  Catalogue::Touched touched;
  EXPECT_FALSE(catalogue.put({Kind::kApi, "a"}, "\xff\xff", touched).ok());
  EXPECT_TRUE(touched.empty());
  EXPECT_TRUE(sees("x", Kind::kApi, "a"));
}

}  // namespace
}  // namespace sluice::controlplane::discovery
