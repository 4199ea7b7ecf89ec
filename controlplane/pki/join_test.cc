#include "controlplane/pki/join.h"

#include <gtest/gtest.h>

#include "controlplane/pki/test_support.h"
#include "controlplane/store/sqlite_store.h"

namespace sluice::controlplane::pki {
namespace {

constexpr char kOrganisation[] = "default";

class JoinTest : public testing::Test {
 protected:
  void SetUp() override {
    store::SqliteOptions options;
    options.path = directory_.path() + "/control.db";
    auto store = store::open_sqlite(options);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    store::Write group{.kind = "GatewayGroup", .name = "default", .spec = ""};
    store::Write other{.kind = "GatewayGroup", .name = "other", .spec = ""};
    ASSERT_TRUE(store_->commit(kOrganisation, {group, other}).ok());
    authority_ = *Authority::open(directory_.path() + "/tls", now_);
    proxies_ = *Proxies::open(*store_, kOrganisation);
    joining_ = std::make_unique<Joining>(
        *store_, *authority_, *proxies_,
        [this](const std::string& node) { return node == connected_; }, kOrganisation);
  }

  std::string token(int uses = 0, const std::string& group = "") {
    admin::v1::CreateJoinTokenRequest request;
    request.set_uses(uses);
    request.set_group(group);
    auto response = joining_->create_token(request, now_);
    EXPECT_TRUE(response.ok()) << response.status();
    return response->token();
  }
  absl::StatusOr<Peer> join(const std::string& token, const std::string& node) {
    admin::v1::JoinRequest request;
    request.set_join_token(token);
    request.set_node_id(node);
    request.set_csr_pem(make_csr("P-256"));
    SLUICE_ASSIGN_OR_RETURN(const admin::v1::JoinResponse response, joining_->join(request, now_));
    return peer_from_certificate(response.certificate_pem());
  }
  absl::StatusOr<Peer> renew(const Peer& peer) {
    admin::v1::RenewRequest request;
    request.set_csr_pem(make_csr("P-256"));
    SLUICE_ASSIGN_OR_RETURN(const admin::v1::JoinResponse response,
                            joining_->renew(request, peer, now_));
    return peer_from_certificate(response.certificate_pem());
  }

  TemporaryDirectory directory_;
  Wall now_ = system_wall();
  std::string connected_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Authority> authority_;
  std::unique_ptr<Proxies> proxies_;
  std::unique_ptr<Joining> joining_;
};

TEST_F(JoinTest, ExchangesATokenForACertificateOfItsGroup) {
  const absl::StatusOr<Peer> peer = join(token(1, "other"), "node-1");
  ASSERT_TRUE(peer.ok()) << peer.status();
  EXPECT_EQ(peer->group, "other");
  EXPECT_EQ(peer->name, "node-1");
  EXPECT_TRUE(proxies_->check(*peer).ok());
}

TEST_F(JoinTest, CountsTheUsesOfAToken) {
  const std::string once = token();
  EXPECT_TRUE(join(once, "a").ok());
  EXPECT_TRUE(absl::IsPermissionDenied(join(once, "b").status()));
  const std::string twice = token(2);
  EXPECT_TRUE(join(twice, "b").ok());
  EXPECT_TRUE(join(twice, "c").ok());
  EXPECT_TRUE(absl::IsPermissionDenied(join(twice, "d").status()));
}

TEST_F(JoinTest, RefusesAnExpiredToken) {
  const std::string late = token();
  now_ += std::chrono::hours(2);
  EXPECT_TRUE(absl::IsPermissionDenied(join(late, "a").status()));
}

TEST_F(JoinTest, RefusesAnUnknownToken) {
  EXPECT_TRUE(absl::IsPermissionDenied(join("slj1.abc", "a").status()));
  EXPECT_TRUE(absl::IsPermissionDenied(join("", "a").status()));
}

TEST_F(JoinTest, DoesNotSpendTheTokenOnABadRequest) {
  const std::string once = token();
  admin::v1::JoinRequest request;
  request.set_join_token(once);
  request.set_node_id("a");
  request.set_csr_pem("nonsense");
  EXPECT_TRUE(absl::IsInvalidArgument(joining_->join(request, now_).status()));
  request.set_node_id("../a");
  EXPECT_TRUE(absl::IsInvalidArgument(joining_->join(request, now_).status()));
  EXPECT_TRUE(join(once, "a").ok());
}

TEST_F(JoinTest, RefusesANodeIdThatIsConnectedOrOfAnotherGroup) {
  const std::string many = token(5);
  ASSERT_TRUE(join(many, "a").ok());
  connected_ = "a";
  EXPECT_TRUE(absl::IsAlreadyExists(join(many, "a").status()));
  connected_.clear();
  EXPECT_TRUE(absl::IsAlreadyExists(join(token(1, "other"), "a").status()));
}

TEST_F(JoinTest, ASecondJoinEndsTheCertificatesOfTheFirst) {
  const std::string many = token(5);
  const Peer first = *join(many, "a");
  const Peer second = *join(many, "a");
  EXPECT_TRUE(absl::IsPermissionDenied(proxies_->check(first)));
  EXPECT_TRUE(proxies_->check(second).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(renew(first).status()));
}

TEST_F(JoinTest, RenewingKeepsTheJoin) {
  const Peer first = *join(token(), "a");
  now_ += std::chrono::hours(24 * 5);
  const absl::StatusOr<Peer> second = renew(first);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE(first.serial, second->serial);
  EXPECT_TRUE(proxies_->check(first).ok());
  EXPECT_TRUE(proxies_->check(*second).ok());
  EXPECT_EQ(proxies_->find("a")->certificate_expires_ms, to_ms(now_ + std::chrono::hours(24 * 7)));
}

TEST_F(JoinTest, ARemovedProxyIsRefusedUntilItJoinsAgain) {
  const Peer first = *join(token(), "a");
  ASSERT_TRUE(proxies_->remove("a").ok());
  EXPECT_TRUE(absl::IsPermissionDenied(proxies_->check(first)));
  EXPECT_TRUE(absl::IsPermissionDenied(renew(first).status()));
  EXPECT_TRUE(proxies_->list().empty());
  EXPECT_TRUE(absl::IsNotFound(proxies_->remove("a")));
  const Peer again = *join(token(), "a");
  EXPECT_TRUE(proxies_->check(again).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(proxies_->check(first)));
}

TEST_F(JoinTest, RemembersProxiesOverARestart) {
  const Peer kept = *join(token(), "a");
  const Peer removed = *join(token(), "b");
  ASSERT_TRUE(proxies_->remove("b").ok());
  const std::unique_ptr<Proxies> again = *Proxies::open(*store_, kOrganisation);
  EXPECT_TRUE(again->check(kept).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(again->check(removed)));
  ASSERT_EQ(again->list().size(), 1u);
  EXPECT_EQ(again->list().front().node_id, "a");
}

TEST_F(JoinTest, TokensNameAnExistingGroupAndSaneNumbers) {
  admin::v1::CreateJoinTokenRequest request;
  request.set_group("none");
  EXPECT_TRUE(absl::IsNotFound(joining_->create_token(request, now_).status()));
  request.set_group("default");
  request.set_uses(-1);
  EXPECT_TRUE(absl::IsInvalidArgument(joining_->create_token(request, now_).status()));
  request.set_uses(1);
  request.set_ttl_s(1'000'000'000);
  EXPECT_TRUE(absl::IsInvalidArgument(joining_->create_token(request, now_).status()));
}

TEST_F(JoinTest, OperatorsGetACertificateThatIsNoProxys) {
  admin::v1::CreateClientCertificateRequest request;
  request.set_name("ann");
  const auto response = joining_->create_client_certificate(request, now_);
  ASSERT_TRUE(response.ok()) << response.status();
  const Peer peer = *peer_from_certificate(response->certificate_pem());
  EXPECT_EQ(peer.kind, Peer::Kind::kOperator);
  EXPECT_TRUE(absl::IsPermissionDenied(proxies_->check(peer)));
  request.set_name("a b");
  EXPECT_TRUE(absl::IsInvalidArgument(joining_->create_client_certificate(request, now_).status()));
}

}  // namespace
}  // namespace sluice::controlplane::pki
