#include "proxy/config/testing.h"

namespace sluice::config {
namespace {

using testing::api;
using testing::listener;
using testing::make_certificate;
using testing::published;
using testing::secret;
using testing::Strings;

class CompileListener : public testing::CompileTest {
 protected:
  const CompiledListener& at(std::string_view name) { return *snapshot->find_listener(name); }
};

std::string filters(const std::string& auth_setting) {
  return "filters { name: 'auth' config { fields { key: 'x' value { string_value: '" +
         auth_setting + "' } } } } filters { name: 'passthrough' }";
}

TEST_F(CompileListener, FillsItsDefaults) {
  give({listener("ws", "address: '127.0.0.1' port: 9099")});
  const CompiledListener& ws = at("ws");
  EXPECT_EQ(ws.address, "127.0.0.1");
  EXPECT_EQ(ws.port, 9099);
  EXPECT_EQ(ws.group, "default");
  EXPECT_EQ(ws.tls, nullptr);
  EXPECT_FALSE(ws.plaintext_exposed);
  EXPECT_EQ(ws.request_head_bytes_max, 65536u);
  EXPECT_EQ(ws.request_head_timeout, seconds(10));
  Strings names;
  for (const auto& entry : ws.chain->entries()) {
    names.push_back(entry.name);
  }
  EXPECT_EQ(names, (Strings{"auth", "throttling", "analytics", "passthrough"}));
  EXPECT_EQ(snapshot->find_listener("w"), nullptr);
  EXPECT_EQ(snapshot->find_listener("wss"), nullptr);
}

TEST_F(CompileListener, NamesEveryFault) {
  EXPECT_EQ(
      fields(put({listener("l", R"(
      address: 'localhost' port: 65536 tls { secret: 'none' } trusted_hops: '10.0.0.1/8'
      trusted_hops: 'x' request_head_bytes_max: 10 request_head_timeout { }
      filters { name: 'nope' } filters { name: 'auth' } filters { name: 'auth' } group: '')")})),
      (Strings{"Listener l: spec.port", "Listener l: spec.address", "Listener l: spec.tls.secret",
               "Listener l: spec.trusted_hops[0]", "Listener l: spec.trusted_hops[1]",
               "Listener l: spec.request_head_bytes_max", "Listener l: spec.request_head_timeout",
               "Listener l: spec.filters[0].name", "Listener l: spec.filters[2].name"}));
  EXPECT_EQ(fields(put({listener("l", "address: '::1' tls { }")})),
            Strings{"Listener l: spec.tls.secret"});
  EXPECT_EQ(fields(put({listener("l", "")})), Strings{"Listener l: spec.address"});
}

TEST_F(CompileListener, WantsPlainTextBeyondLoopbackAskedFor) {
  for (const char* address : {"0.0.0.0", "::", "10.1.2.3", "2001:db8::1"}) {
    const std::string spec = std::string("address: '") + address + "' port: 1 ";
    EXPECT_EQ(fields(put({listener("l", spec)})), Strings{"Listener l: spec.plaintext"}) << address;
    give({listener("l", spec + "plaintext: true")});
    EXPECT_TRUE(at("l").plaintext_exposed);
    remove({{Kind::kListener, "l"}});
  }
  give({listener("l", "address: '127.9.9.9'"), listener("m", "address: '::1'")});
}

TEST_F(CompileListener, TakesTheAddressOfTheCommandLine) {
  context.listen["ws"] = {"0.0.0.0", 18099};
  give({listener("ws", "address: '127.0.0.1' port: 9099")});
  EXPECT_EQ(at("ws").address, "0.0.0.0");
  EXPECT_EQ(at("ws").port, 18099);
  EXPECT_TRUE(at("ws").plaintext_exposed);
}

TEST_F(CompileListener, RefusesAnAddressThatAnotherOneHas) {
  give({listener("a", "address: '127.0.0.1' port: 1"),
        listener("b", "address: '127.0.0.1' port: 2"),
        listener("c", "address: '127.0.0.1' port: 1 group: 'edge'"),
        listener("d", "address: '127.0.0.1'"), listener("e", "address: '127.0.0.1'")});
  EXPECT_EQ(fields(put({listener("f", "address: '::ffff:127.0.0.1' port: 2")})),
            Strings{"Listener f: spec.port"});
  // Addresses may change hands.
  give({listener("a", "address: '127.0.0.1' port: 2"),
        listener("b", "address: '127.0.0.1' port: 1")});
  EXPECT_EQ(at("a").port, 2);
  // But not where the other's change is refused.
  const CompileResult result =
      put({listener("a", "address: '127.0.0.1' port: 1"), listener("b", "address: 'nonsense'")});
  EXPECT_EQ(fields(result), (Strings{"Listener a: spec.port", "Listener b: spec.address"}));
  EXPECT_EQ(at("a").port, 2);
  EXPECT_TRUE(result.changed.empty());
}

TEST_F(CompileListener, TakesTheNewCertificateOfItsSecret) {
  give({secret("s", make_certificate("one")),
        listener("wss", "address: '::' port: 8099 tls { secret: 's' }"),
        listener("ws", "address: '::1' port: 9099")});
  const auto before = at("wss").tls;
  ASSERT_NE(before, nullptr);
  const CompileResult result = put({secret("s", make_certificate("two"))});
  EXPECT_EQ(changed(result), Strings{"listener wss"});
  EXPECT_NE(at("wss").tls, before);
  EXPECT_EQ(at("wss").tls, snapshot->find_secret("s")->tls);
}

TEST_F(CompileListener, KeepsTheCertificateWhenTheNewOneIsNone) {
  const auto good = make_certificate("one");
  give({secret("s", good), listener("wss", "address: '::' tls { secret: 's' }")});
  const auto before = at("wss").tls;
  auto mixed = make_certificate("two");
  mixed.key_pem = good.key_pem;
  EXPECT_EQ(put({secret("s", mixed)}).faults.size(), 1u);
  EXPECT_EQ(fields(put({secret("s", {"", ""})})),
            (Strings{"Secret s: spec.certificate_pem", "Secret s: spec.private_key_pem"}));
  EXPECT_EQ(put({secret("s", {"x", "y"})}).faults.size(), 1u);
  EXPECT_EQ(at("wss").tls, before);
}

TEST_F(CompileListener, KeepsFactoriesWhoseSettingsStay) {
  give({listener("ws", "address: '127.0.0.1' port: 1 " + filters("a"))});
  const auto before = snapshot->find_listener("ws");
  give({listener("ws", "address: '127.0.0.1' port: 2 " + filters("a"))});
  EXPECT_EQ(at("ws").chain, before->chain);
  give({listener("ws", "address: '127.0.0.1' port: 2 " + filters("b"))});
  EXPECT_NE(at("ws").chain, before->chain);
  EXPECT_NE(at("ws").filters[0].factory, before->filters[0].factory);
  EXPECT_EQ(at("ws").filters[1].factory, before->filters[1].factory);
}

TEST_F(CompileListener, GivesAnApiItsOwnChainOnEachListener) {
  give({listener("one", "address: '127.0.0.1' port: 1 " + filters("a")),
        listener("two", "address: '127.0.0.1' port: 2"), api("plain", published("/p", "1")),
        api("own", published("/o", "1", "filters { name: 'throttling' }"))});
  const auto plain = snapshot->find_api("plain");
  const auto own = snapshot->find_api("own");
  EXPECT_EQ(plain->chain_for(at("one")), at("one").chain);
  EXPECT_TRUE(plain->chains.empty());
  // `one` has no throttling; `two` has the API's in its place.
  EXPECT_EQ(own->chain_for(at("one"))->entries().size(), 2u);
  EXPECT_EQ(own->chain_for(at("two"))->entries()[1].factory, own->filters[0].factory);
  EXPECT_EQ(own->chain_for(at("two"))->entries()[0].factory, at("two").filters[0].factory);

  // An edit of the API that leaves its settings keeps their factory.
  give(
      {api("own", published("/o", "1", "filters { name: 'throttling' } close_codes: 'standard'"))});
  EXPECT_EQ(snapshot->find_api("own")->filters[0].factory, own->filters[0].factory);

  // An edited, a new and a removed listener concern only the API with a chain of its own.
  const CompileResult edited =
      put({listener("one", "address: '127.0.0.1' port: 1 " + filters("b"))});
  EXPECT_EQ(changed(edited), (Strings{"api own", "listener one"}));
  EXPECT_EQ(snapshot->find_api("own")->chain_for(at("one"))->entries()[0].factory,
            at("one").filters[0].factory);
  EXPECT_EQ(changed(put({listener("three", "address: '127.0.0.1' port: 3")})),
            (Strings{"api own", "listener three"}));
  EXPECT_EQ(snapshot->find_api("own")->chains.size(), 3u);
  EXPECT_EQ(snapshot->route("/o/1").api, snapshot->find_api("own"));
  remove({{Kind::kListener, "three"}});
  EXPECT_EQ(snapshot->find_api("own")->chains.size(), 2u);
  // Another port is nothing to it.
  EXPECT_EQ(changed(put({listener("two", "address: '127.0.0.1' port: 22")})),
            Strings{"listener two"});
  EXPECT_EQ(snapshot->find_api("plain"), plain);
}

TEST_F(CompileListener, VerifiesByTheSameTrustWhereTheAuthoritiesAreTheSame) {
  const auto ca = make_certificate("ca").certificate_pem;
  v1::Upstream spec;
  spec.add_endpoints("wss://backend/");
  spec.mutable_tls()->set_ca(ca);
  spec.mutable_tls()->set_server_name("inner.example");
  const std::string bytes = spec.SerializeAsString();
  give({{Kind::kUpstream, "u", "1", bytes},
        {Kind::kUpstream, "v", "1", bytes},
        testing::upstream("w", "endpoints: 'https://x/'"),
        testing::upstream("x", "endpoints: 'wss://y/'"),
        testing::upstream("y", "endpoints: 'ws://y/'")});
  const auto cluster = [&](const char* name) { return snapshot->find_upstream(name)->cluster; };
  EXPECT_NE(cluster("u")->tls, nullptr);
  EXPECT_EQ(cluster("u")->tls, cluster("v")->tls);
  EXPECT_EQ(cluster("u")->server_name, "inner.example");
  EXPECT_EQ(cluster("u")->endpoints[0].port, 443);
  EXPECT_NE(cluster("w")->tls, cluster("u")->tls);
  EXPECT_EQ(cluster("w")->tls, cluster("x")->tls);
  EXPECT_EQ(cluster("y")->tls, nullptr);
  EXPECT_EQ(fields(put({testing::upstream(
                "z", "endpoints: 'ws://y/' tls { ca: 'no PEM' server_name: '*' }")})),
            (Strings{"Upstream z: spec.tls.server_name", "Upstream z: spec.tls.ca"}));
}

}  // namespace
}  // namespace sluice::config
