#include "controlplane/pki/authority.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "controlplane/pki/files.h"
#include "controlplane/pki/openssl.h"
#include "controlplane/pki/test_support.h"

namespace sluice::controlplane::pki {
namespace {

constexpr std::chrono::hours kDay{24};

class AuthorityTest : public testing::Test {
 protected:
  std::unique_ptr<Authority> open(Wall now = system_wall()) {
    absl::StatusOr<std::unique_ptr<Authority>> authority = Authority::open(tls(), now);
    EXPECT_TRUE(authority.ok()) << authority.status();
    return *std::move(authority);
  }
  std::string tls() const { return directory_.path() + "/tls"; }

  TemporaryDirectory directory_;
};

unsigned mode_of(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 0777;
}

Subject proxy_subject(std::string join = "") {
  return {.names = {},
          .uri = "spiffe://sluice/default/node-1",
          .join = std::move(join),
          .server = false,
          .life = kDay * 7};
}

TEST_F(AuthorityTest, IsMadeOnceAndReadAgain) {
  const std::string first = open()->fingerprint();
  EXPECT_EQ(open()->fingerprint(), first);
  EXPECT_EQ(first.size(), 64u);
  EXPECT_EQ(*fingerprint(open()->certificate_pem()), first);
}

TEST_F(AuthorityTest, KeepsItsKeysToItself) {
  ASSERT_TRUE(open()->server_certificate({"localhost"}, system_wall()).ok());
  EXPECT_EQ(mode_of(tls()), 0700u);
  EXPECT_EQ(mode_of(tls() + "/ca-key.pem"), 0600u);
  EXPECT_EQ(mode_of(tls() + "/server-key.pem"), 0600u);
}

TEST_F(AuthorityTest, StartsAnewWhenTheFirstStartWasCutOffBetweenItsFiles) {
  open();
  std::filesystem::remove(tls() + "/ca.pem");
  EXPECT_EQ(open()->fingerprint().size(), 64u);
}

TEST_F(AuthorityTest, RefusesAKeyOfAnotherCertificate) {
  open();
  const std::string key = *read_file(tls() + "/ca-key.pem");
  std::filesystem::remove_all(tls());
  open();
  ASSERT_TRUE(write_file(tls() + "/ca-key.pem", key, 0600).ok());
  const auto again = Authority::open(tls(), system_wall());
  EXPECT_TRUE(absl::IsFailedPrecondition(again.status())) << again.status();
}

TEST_F(AuthorityTest, ServerCertificateIsKeptUntilTwoThirdsOfItsLife) {
  const std::unique_ptr<Authority> authority = open();
  const std::vector<std::string> names = default_server_names();
  const Wall now = system_wall();
  const std::string first = authority->server_certificate(names, now)->certificate_pem;
  EXPECT_EQ(authority->server_certificate(names, now + kDay * 400)->certificate_pem, first);
  EXPECT_NE(authority->server_certificate(names, now + kDay * 500)->certificate_pem, first);
}

TEST_F(AuthorityTest, ServerCertificateIsMadeAnewWhenANameIsMissing) {
  const std::unique_ptr<Authority> authority = open();
  const Wall now = system_wall();
  const std::string first = authority->server_certificate({"localhost"}, now)->certificate_pem;
  const std::string second =
      authority->server_certificate({"localhost", "10.1.2.3", "gw.example.com"}, now)
          ->certificate_pem;
  EXPECT_NE(first, second);
  EXPECT_FALSE(needs_renewal(second, authority->certificate_pem(), {"gw.example.com"}, now));
  EXPECT_TRUE(needs_renewal(second, authority->certificate_pem(), {"10.1.2.4"}, now));
}

TEST_F(AuthorityTest, ServerCertificateOfAnotherAuthorityIsMadeAnew) {
  const std::string old = open()->server_certificate({"localhost"}, system_wall())->certificate_pem;
  std::filesystem::remove(tls() + "/ca.pem");
  std::filesystem::remove(tls() + "/ca-key.pem");
  EXPECT_NE(open()->server_certificate({"localhost"}, system_wall())->certificate_pem, old);
}

TEST_F(AuthorityTest, ChainOfAnIssuedCertificateEndsWithTheAuthority) {
  const std::unique_ptr<Authority> authority = open();
  const KeyPair pair = *authority->issue(proxy_subject(), system_wall());
  EXPECT_TRUE(pair.certificate_pem.ends_with(authority->certificate_pem()));
  EXPECT_TRUE(verifies(pair.certificate_pem, authority->certificate_pem()));
}

TEST_F(AuthorityTest, SignsARequestForItsKeyAndIgnoresItsNames) {
  const std::unique_ptr<Authority> authority = open();
  const std::string csr = make_csr("P-256", "spiffe://sluice/other/evil");
  const absl::StatusOr<std::string> chain = authority->sign(csr, proxy_subject(), system_wall());
  ASSERT_TRUE(chain.ok()) << chain.status();
  const absl::StatusOr<Peer> peer = peer_from_certificate(*chain);
  ASSERT_TRUE(peer.ok()) << peer.status();
  EXPECT_EQ(peer->kind, Peer::Kind::kProxy);
  EXPECT_EQ(peer->group, "default");
  EXPECT_EQ(peer->name, "node-1");
  EXPECT_EQ(chain->find("evil"), std::string::npos);
  EXPECT_TRUE(verifies(*chain, authority->certificate_pem()));
}

TEST_F(AuthorityTest, SerialBeginsWithTheJoin) {
  const std::string chain =
      open()->sign(make_csr("P-256"), proxy_subject("Abcdefgh"), system_wall()).value();
  const Peer peer = *peer_from_certificate(chain);
  EXPECT_EQ(peer.serial.size(), 32u);
  EXPECT_TRUE(peer.serial.starts_with("4162636465666768")) << peer.serial;
}

TEST_F(AuthorityTest, RefusesWeakKeysAndBrokenRequests) {
  const std::unique_ptr<Authority> authority = open();
  const Wall now = system_wall();
  EXPECT_TRUE(absl::IsInvalidArgument(authority->sign("", proxy_subject(), now).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(authority->sign("nonsense", proxy_subject(), now).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(authority->sign(make_csr("P-224"), proxy_subject(), now).status()));
  std::string changed = make_csr("P-256");
  changed[changed.size() - 60] = changed[changed.size() - 60] == 'A' ? 'B' : 'A';
  EXPECT_TRUE(absl::IsInvalidArgument(authority->sign(changed, proxy_subject(), now).status()));
}

TEST_F(AuthorityTest, CertificateNeverOutlivesTheAuthority) {
  const Wall begin = system_wall();
  const std::unique_ptr<Authority> authority = open(begin);
  const KeyPair pair = *authority->issue(proxy_subject(), begin + kDay * 3652);
  const CertificatePtr leaf = read_certificate(pair.certificate_pem);
  const CertificatePtr ca = read_certificate(authority->certificate_pem());
  EXPECT_LE(ASN1_TIME_compare(X509_get0_notAfter(leaf.get()), X509_get0_notAfter(ca.get())), 0);
}

TEST_F(AuthorityTest, TellsOperatorsFromProxies) {
  const std::unique_ptr<Authority> authority = open();
  const auto peer_of = [&](const std::string& uri) {
    Subject subject = proxy_subject();
    subject.uri = uri;
    return peer_from_certificate(authority->issue(subject, system_wall())->certificate_pem);
  };
  EXPECT_EQ(peer_of("spiffe://sluice-operator/ann")->kind, Peer::Kind::kOperator);
  EXPECT_EQ(peer_of("spiffe://sluice-operator/ann")->name, "ann");
  EXPECT_FALSE(peer_of("spiffe://sluice/default").ok());
  EXPECT_FALSE(peer_of("spiffe://sluice/default/a/b").ok());
  EXPECT_FALSE(peer_of("spiffe://sluice//a").ok());
  EXPECT_FALSE(peer_of("spiffe://else/default/a").ok());
  EXPECT_FALSE(peer_from_certificate("").ok());
  EXPECT_FALSE(peer_from_certificate(
                   authority->server_certificate({"localhost"}, system_wall())->certificate_pem)
                   .ok());
}

TEST(ValidName, IsThatOfResources) {
  EXPECT_TRUE(valid_name("node-1.example_x"));
  EXPECT_TRUE(valid_name(std::string(63, 'a')));
  EXPECT_FALSE(valid_name(std::string(64, 'a')));
  EXPECT_FALSE(valid_name(""));
  EXPECT_FALSE(valid_name("-a"));
  EXPECT_FALSE(valid_name("a/b"));
  EXPECT_FALSE(valid_name("a b"));
}

}  // namespace
}  // namespace sluice::controlplane::pki
