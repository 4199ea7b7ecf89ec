#include "controlplane/api/services.h"

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "controlplane/api/handler_pool.h"
#include "controlplane/api/peer.h"
#include "controlplane/api/test_world.h"

namespace sluice::controlplane::api {
namespace {

using telemetry::v1::Record;

TEST(Auth, LogsInAndOutAndRefusesTheRest) {
  World world;
  admin::v1::LoginRequest login;
  login.set_user("admin");
  login.set_password("wrong");
  EXPECT_TRUE(absl::IsUnauthenticated(
      world.call<admin::v1::LoginResponse>("AuthService/Login", login).status()));
  login.set_password("correct horse");
  const auto session = world.call<admin::v1::LoginResponse>("AuthService/Login", login);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_GT(session->expires().seconds(), 0);

  const Method* method = world.table->find("sluice.admin.v1.StatusService/GetStatus");
  CallContext context;
  EXPECT_TRUE(absl::IsUnauthenticated(world.table->admit(*method, context)));
  context.bearer = session->token() + "x";
  EXPECT_TRUE(absl::IsUnauthenticated(world.table->admit(*method, context)));
  context.bearer = session->token();
  ASSERT_TRUE(world.table->admit(*method, context).ok());
  EXPECT_EQ(context.user, "admin");
  const Method* logout = world.table->find("sluice.admin.v1.AuthService/Logout");
  EXPECT_TRUE(logout->handler(context, admin::v1::LogoutRequest()).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(world.table->admit(*method, context)));
}

TEST(Auth, WantsTheUserResourceTooNotOnlyAPassword) {
  World world;
  ASSERT_TRUE(world.users.set_password("ghost", "long enough").ok());
  admin::v1::LoginRequest login;
  login.set_user("ghost");
  login.set_password("long enough");
  EXPECT_TRUE(absl::IsUnauthenticated(
      world.call<admin::v1::LoginResponse>("AuthService/Login", login).status()));
  admin::v1::SetPasswordRequest password;
  password.set_name("ghost");
  password.set_password("long enough");
  EXPECT_TRUE(absl::IsNotFound(
      world.call<admin::v1::SetPasswordResponse>("UserService/SetPassword", password).status()));
  password.set_name("admin");
  EXPECT_TRUE(world.call<admin::v1::SetPasswordResponse>("UserService/SetPassword", password).ok());
}

TEST(Admit, GivesEachCallerItsServicesAndNoOthers) {
  World world;
  const auto admit = [&](const char* path, CallContext context) {
    return world.table->admit(*world.table->find(std::string("sluice.admin.v1.") + path), context)
        .code();
  };
  const std::string token = world.users.login("admin", "correct horse", "")->token;
  CallContext user;
  user.transport = Transport::kGrpc;
  user.bearer = token;
  user.loopback = true;
  CallContext away = user;
  away.loopback = false;
  CallContext away_with_certificate = away;
  away_with_certificate.certificate.kind = pki::Peer::Kind::kOperator;
  CallContext away_in_plain_text = away;
  away_in_plain_text.plaintext = true;
  CallContext proxy = user;
  proxy.certificate.kind = pki::Peer::Kind::kProxy;
  CallContext json = away;
  json.transport = Transport::kJson;
  CallContext late = user;
  late.deadline = system_mono();
  using absl::StatusCode;
  for (const char* path : {"ApiService/GetApi", "ResourceService/Apply", "UserService/SetPassword",
                           "ProxyService/CreateJoinToken", "RolloutService/Wait"}) {
    EXPECT_EQ(admit(path, user), StatusCode::kOk) << path;
    EXPECT_EQ(admit(path, away), StatusCode::kUnauthenticated) << path;
    EXPECT_EQ(admit(path, away_with_certificate), StatusCode::kOk) << path;
    EXPECT_EQ(admit(path, away_in_plain_text), StatusCode::kOk) << path;
    EXPECT_EQ(admit(path, proxy), StatusCode::kPermissionDenied) << path;
    EXPECT_EQ(admit(path, json), StatusCode::kOk) << path;
    EXPECT_EQ(admit(path, late), StatusCode::kDeadlineExceeded) << path;
  }
  EXPECT_EQ(admit("AuthService/Login", proxy), StatusCode::kPermissionDenied);
  EXPECT_EQ(admit("AuthService/Login", away), StatusCode::kUnauthenticated);
  EXPECT_EQ(admit("JoinService/Join", away), StatusCode::kOk);
  EXPECT_EQ(admit("JoinService/Join", json), StatusCode::kUnimplemented);
  EXPECT_EQ(admit("JoinService/Renew", user), StatusCode::kUnauthenticated);
  EXPECT_EQ(admit("JoinService/Renew", proxy), StatusCode::kOk);
  EXPECT_EQ(admit("JoinService/Renew", json), StatusCode::kUnimplemented);
}

TEST(Rollout, AsksDiscoveryAndChecksItsQuestion) {
  World world;
  admin::v1::WaitRolloutRequest wait;
  wait.set_revision(1);
  const auto status = world.call<admin::v1::RolloutStatus>("RolloutService/Wait", wait);
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_TRUE(status->complete());
  EXPECT_EQ(status->group(), "default");
  wait.set_revision(1'000'000);
  EXPECT_TRUE(absl::IsInvalidArgument(
      world.call<admin::v1::RolloutStatus>("RolloutService/Wait", wait).status()));
  admin::v1::GetRolloutRequest get;
  get.set_group("none");
  EXPECT_TRUE(
      absl::IsNotFound(world.call<admin::v1::RolloutStatus>("RolloutService/Get", get).status()));
  EXPECT_TRUE(world.table->find("sluice.admin.v1.RolloutService/Wait")->waits);
}

TEST(Proxies, AreListedFromBothSourcesAndRemoved) {
  World world;
  pki::KnownProxy known;
  known.node_id = "edge-1";
  known.group = "default";
  known.certificate_expires_ms = 1;
  ASSERT_TRUE(world.proxies->remember(known).ok());
  admin::v1::Proxy live;
  live.set_node_id("edge-1");
  live.set_group("default");
  live.set_connected(true);
  world.connected = {live};
  const auto listed = world.call<admin::v1::ListProxiesResponse>("ProxyService/ListProxies",
                                                                 admin::v1::ListProxiesRequest());
  ASSERT_TRUE(listed.ok());
  ASSERT_EQ(listed->proxies_size(), 1);
  EXPECT_TRUE(listed->proxies(0).connected());
  EXPECT_EQ(listed->proxies(0).warnings_size(), 1);
  admin::v1::RemoveProxyRequest remove;
  remove.set_node_id("edge-1");
  ASSERT_TRUE(world.call<admin::v1::RemoveProxyResponse>("ProxyService/RemoveProxy", remove).ok());
  EXPECT_EQ(world.disconnected, std::vector<std::string>{"edge-1"});
  EXPECT_TRUE(absl::IsNotFound(
      world.call<admin::v1::RemoveProxyResponse>("ProxyService/RemoveProxy", remove).status()));
}

TEST(Usage, ComesFromTheRecords) {
  World world;
  std::vector<Record> records;
  for (std::uint64_t i = 1; i <= 5; ++i) {
    Record& record = records.emplace_back();
    record.set_epoch(1);
    record.set_sequence(i);
    record.set_part(i == 5 ? Record::REFUSED : i == 4 ? Record::INTERIM : Record::FINAL);
    record.set_connection_id("c" + std::to_string(i));
    record.set_api("echo");
    record.set_application("app");
    record.set_messages_up(i == 5 ? 0 : 2);
    record.mutable_end()->set_seconds(to_ms(system_wall()) / 1000);
  }
  ASSERT_TRUE(world.store->append_records("default", "edge", records).ok());
  const auto usage = world.call<admin::v1::GetUsageResponse>("UsageService/GetUsage",
                                                             admin::v1::GetUsageRequest());
  ASSERT_TRUE(usage.ok()) << usage.status();
  ASSERT_EQ(usage->usage_size(), 1);
  EXPECT_EQ(usage->usage(0).messages_up(), 8U);
  EXPECT_EQ(usage->usage(0).connections(), 4U);
  EXPECT_EQ(usage->usage(0).refused(), 1U);
  admin::v1::ListRecordsRequest list;
  list.set_page_size(3);
  auto page = world.call<admin::v1::ListRecordsResponse>("UsageService/ListRecords", list);
  ASSERT_EQ(page->records_size(), 3);
  list.set_page_token(page->next_page_token());
  page = world.call<admin::v1::ListRecordsResponse>("UsageService/ListRecords", list);
  EXPECT_EQ(page->records_size(), 2);
  EXPECT_TRUE(page->next_page_token().empty());
  list.set_page_token("x");
  EXPECT_TRUE(absl::IsInvalidArgument(
      world.call<admin::v1::ListRecordsResponse>("UsageService/ListRecords", list).status()));
  admin::v1::ListConnectionsRequest connections;
  EXPECT_EQ(
      world.call<admin::v1::ListConnectionsResponse>("UsageService/ListConnections", connections)
          ->connections_size(),
      1);
  connections.set_refused(true);
  EXPECT_EQ(
      world.call<admin::v1::ListConnectionsResponse>("UsageService/ListConnections", connections)
          ->connections_size(),
      5);
}

TEST(Usage, ClosesALiveConnectionThroughItsProxy) {
  World world;
  std::vector<Record> records(2);
  for (std::uint64_t i = 0; i < 2; ++i) {
    records[i].set_epoch(1);
    records[i].set_sequence(i + 1);
    records[i].set_part(i == 0 ? Record::INTERIM : Record::FINAL);
    records[i].set_connection_id(i == 0 ? "live" : "ended");
    records[i].set_reason(i == 0 ? "" : "access token revoked");
    records[i].mutable_end()->set_seconds(to_ms(system_wall()) / 1000);
  }
  ASSERT_TRUE(world.store->append_records("default", "edge", records).ok());
  records[0].set_connection_id("elsewhere");
  ASSERT_TRUE(world.store->append_records("default", "away", {records[0]}).ok());
  const auto close = [&](const std::string& connection) {
    admin::v1::CloseConnectionRequest request;
    request.set_connection_id(connection);
    return world.call<admin::v1::CloseConnectionResponse>("UsageService/CloseConnection", request);
  };
  ASSERT_TRUE(close("live").ok());
  EXPECT_EQ(close("live")->proxy(), "edge");
  EXPECT_EQ(world.closed.front(), "edge/live");
  EXPECT_TRUE(absl::IsInvalidArgument(close("").status()));
  EXPECT_TRUE(absl::IsNotFound(close("unheard").status()));
  const absl::Status ended = close("ended").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(ended));
  EXPECT_NE(message_of(ended).find("access token revoked"), std::string_view::npos);
  EXPECT_TRUE(absl::IsUnavailable(close("elsewhere").status()));
}

TEST(Status, CountsAndWarns) {
  World world;
  world.tell_the_story();
  world.services->warnings = {"the door speaks plain text"};
  const auto status = world.call<admin::v1::GetStatusResponse>("StatusService/GetStatus",
                                                               admin::v1::GetStatusRequest());
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(status->apis(), 1);
  EXPECT_EQ(status->applications(), 1);
  EXPECT_EQ(status->subscriptions(), 1);
  EXPECT_EQ(status->warnings_size(), 1);
  EXPECT_EQ(status->version(), SLUICE_VERSION);
  EXPECT_EQ(status->revision(), world.store->revision("default"));
}

TEST(Peers, AreReadFromGrpcsText) {
  EXPECT_EQ(ip_of_peer("ipv4:10.1.2.3:5000"), "10.1.2.3");
  EXPECT_EQ(ip_of_peer("ipv6:%5B::1%5D:5000"), "::1");
  EXPECT_EQ(ip_of_peer("ipv6:[2001:db8::5]:5000"), "2001:db8::5");
  EXPECT_EQ(ip_of_peer("unix:/run/x"), "");
  EXPECT_EQ(ip_of_peer(""), "");
  EXPECT_TRUE(is_loopback_peer("ipv4:127.0.0.1:1"));
  EXPECT_TRUE(is_loopback_peer("ipv6:%5B::1%5D:1"));
  EXPECT_TRUE(is_loopback_peer("unix:/run/x"));
  EXPECT_FALSE(is_loopback_peer("ipv4:10.0.0.1:1"));
  EXPECT_FALSE(is_loopback_peer("ipv6:%5B2001:db8::1%5D:1"));
}

// Counts down to nothing and lets somebody wait for it.
class Gate {
 public:
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    wake_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool open_ = false;
};

TEST(HandlerPool, RunsQuickWorkWhileOthersWait) {
  Gate gate;
  Gate done;
  HandlerPool::Options options;
  options.threads = 1;
  options.waiting_max = 2;
  options.queue_max = 1;
  HandlerPool pool(options);
  EXPECT_TRUE(pool.post_waiting([&] { gate.wait(); }));
  EXPECT_TRUE(pool.post_waiting([&] { gate.wait(); }));
  EXPECT_FALSE(pool.post_waiting([] {}));
  EXPECT_TRUE(pool.post([&] { done.open(); }));
  done.wait();
  gate.open();
}

TEST(HandlerPool, RefusesBeyondItsQueueAndFinishesWhatItTook) {
  std::atomic<int> ran = 0;
  Gate gate;
  Gate begun;
  {
    HandlerPool::Options options;
    options.threads = 1;
    options.queue_max = 3;
    HandlerPool pool(options);
    ASSERT_TRUE(pool.post([&] {
      begun.open();
      gate.wait();
      ++ran;
    }));
    begun.wait();
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(pool.post([&] { ++ran; }));
    }
    EXPECT_FALSE(pool.post([&] { ++ran; }));
    EXPECT_EQ(pool.refused(), 1U);
    gate.open();
  }
  EXPECT_EQ(ran, 4);
}

}  // namespace
}  // namespace sluice::controlplane::api
