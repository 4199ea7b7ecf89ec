#include "proxy/net/tls.h"

#include <openssl/ssl.h>

#include "proxy/base/limits.h"
#include "proxy/net/async_side.h"
#include "proxy/net/certificate.h"
#include "proxy/net/testing.h"
#include "proxy/net/testing_tls.h"
#include "proxy/net/tls_side.h"

namespace sluice::net {
namespace {

using testing::Certificate;
using testing::make_certificate;
using testing::pattern;
using testing::run_task;
using testing::run_until;
using testing::soon;
using testing::TcpPair;
using testing::Witness;

Task<void> accept_into(Loop& loop, std::unique_ptr<Side> plain,
                       std::shared_ptr<const TlsServerContext> tls, Mono deadline,
                       absl::StatusOr<std::unique_ptr<Side>>& out) {
  out = co_await tls_accept(loop, std::move(plain), std::move(tls), deadline);
}

Task<void> connect_into(Loop& loop, std::unique_ptr<Side> plain,
                        std::shared_ptr<const TlsClientContext> tls, Mono deadline,
                        absl::StatusOr<std::unique_ptr<Side>>& out) {
  out = co_await tls_connect(loop, std::move(plain), std::move(tls), "localhost", deadline);
}

class TlsTest : public ::testing::Test {
 protected:
  TlsTest()
      : loop(1),
        group(loop.executor()),
        ca(make_certificate("test CA", "")),
        leaf(make_certificate("server", "DNS:localhost,IP:127.0.0.1", &ca)) {
    server_tls = *TlsServerContext::create(leaf.certificate, leaf.key);
    client_tls = *TlsClientContext::create(ca.certificate);
  }

  // Shakes hands over a fresh TCP connection.
  void shake(const std::string& name) {
    TcpPair pair = testing::make_tcp_pair(loop);
    group.spawn(accept_into(loop, std::move(pair.server), server_tls, soon(loop), server));
    client =
        run_task(loop, tls_connect(loop, std::move(pair.client), client_tls, name, soon(loop)));
    ASSERT_TRUE(run_until(loop, [&] { return group.size() == 0; }));
  }
  void witness() {
    ASSERT_TRUE(client.ok()) << client.status();
    ASSERT_TRUE(server.ok()) << server.status();
    a = std::make_unique<Witness>(*std::move(client));
    b = std::make_unique<Witness>(*std::move(server));
  }

  Loop loop;
  TaskGroup group;
  Certificate ca;
  Certificate leaf;
  std::shared_ptr<const TlsServerContext> server_tls;
  std::shared_ptr<const TlsClientContext> client_tls;
  absl::StatusOr<std::unique_ptr<Side>> server{absl::UnknownError("did not end")};
  absl::StatusOr<std::unique_ptr<Side>> client{absl::UnknownError("did not end")};
  std::unique_ptr<Witness> a;
  std::unique_ptr<Witness> b;
};

TEST_F(TlsTest, ShakesHandsWithModernChoices) {
  shake("localhost");
  witness();
  EXPECT_FALSE(a->side->plain());
  EXPECT_EQ(a->side->peer().ip, "127.0.0.1");
  const auto& tls = dynamic_cast<const TlsSide&>(*a->side);
  EXPECT_STREQ(SSL_get_version(tls.ssl()), "TLSv1.3");
  EXPECT_EQ(SSL_get_negotiated_group(tls.ssl()), NID_X25519);
  EXPECT_EQ(peer_certificate_sha256(*a->side).size(), 64U);
  EXPECT_EQ(peer_certificate_sha256(*b->side), "");
  a->send("hello");
  b->send("welcome");
  ASSERT_TRUE(run_until(loop, [&] { return a->received == "welcome" && b->received == "hello"; }));
}

TEST_F(TlsTest, CarriesMuchBothWaysUnderBackPressure) {
  shake("127.0.0.1");
  witness();
  const std::string up = pattern(12'000'000, 1);
  const std::string down = pattern(9'000'000, 2);
  a->pause_each = b->pause_each = true;
  a->end_after = b->end_after = true;
  a->send(up);
  b->send(down);
  ASSERT_TRUE(run_until(loop, [&] {
    if (a->paused) a->resume();
    if (b->paused) b->resume();
    return a->ended && b->ended;
  }));
  EXPECT_TRUE(a->blocked);
  EXPECT_TRUE(a->received == down);
  EXPECT_TRUE(b->received == up);
  EXPECT_GT(b->largest, 16'384U) << "several records in one call";
}

TEST_F(TlsTest, ManySmallMessagesArriveInOrder) {
  shake("localhost");
  witness();
  std::string sent;
  for (int i = 0; i < 3000; ++i) {
    std::string message = pattern(static_cast<std::size_t>(i % 300) + 1, 100 + i);
    sent += message;
    a->send(std::move(message));
    if (i % 7 == 0) {
      loop.turn(nanoseconds(0));
    }
  }
  ASSERT_TRUE(run_until(loop, [&] { return b->total == sent.size(); }));
  EXPECT_TRUE(b->received == sent);
}

TEST_F(TlsTest, HalfClosesWithCloseNotify) {
  shake("localhost");
  witness();
  a->send("question");
  a->side->end();
  ASSERT_TRUE(run_until(loop, [&] { return b->ended; }));
  EXPECT_EQ(b->received, "question");
  b->send("answer");
  ASSERT_TRUE(run_until(loop, [&] { return a->received == "answer"; }));
  b->side->end();
  ASSERT_TRUE(run_until(loop, [&] { return a->ended; }));
  EXPECT_TRUE(a->error.ok() && b->error.ok());
}

// TLS 1.3: the client's first request may come in one packet with the end of its handshake.
TEST_F(TlsTest, KeepsWhatCameWithTheEndOfTheHandshake) {
  TcpPair pair = testing::make_tcp_pair(loop);
  group.spawn(accept_into(loop, std::move(pair.server), server_tls, soon(loop), server));
  client = run_task(loop,
                    tls_connect(loop, std::move(pair.client), client_tls, "localhost", soon(loop)));
  ASSERT_TRUE(client.ok());
  a = std::make_unique<Witness>(*std::move(client));
  a->send("early");
  a->side->end();
  ASSERT_TRUE(run_until(loop, [&] { return group.size() == 0; }));
  ASSERT_TRUE(server.ok()) << server.status();
  for (int i = 0; i < 5; ++i) {
    loop.turn(milliseconds(1));
  }
  b = std::make_unique<Witness>(*std::move(server));
  ASSERT_TRUE(run_until(loop, [&] { return b->ended; }));
  EXPECT_EQ(b->received, "early");
}

TEST_F(TlsTest, ResumesTheNextTime) {
  shake("localhost");
  witness();
  EXPECT_FALSE(tls_resumed(*a->side));
  b->send("so that the ticket is read");
  ASSERT_TRUE(run_until(loop, [&] { return a->total > 0; }));
  a.reset();
  b.reset();
  // The port, part of the session's key, is that of the listener: the pair's is new each time.
  TcpPair pair;
  auto acceptor = Acceptor::listen(loop, {"127.0.0.1", 0, false}, [&](std::unique_ptr<Side> side) {
    pair.server = std::move(side);
  });
  ASSERT_TRUE(acceptor.ok());
  Resolver resolver;
  const ConnectTarget target{"localhost", (*acceptor)->port(), client_tls, ""};
  for (int round = 0; round < 3; ++round) {
    TaskGroup clients(loop.executor());
    std::optional<absl::StatusOr<std::unique_ptr<Side>>> result;
    clients.spawn(testing::keep_result(connect(loop, resolver, target, soon(loop)), result));
    ASSERT_TRUE(run_until(loop, [&] { return pair.server != nullptr; }));
    group.spawn(accept_into(loop, std::move(pair.server), server_tls, soon(loop), server));
    ASSERT_TRUE(run_until(loop, [&] { return group.size() == 0 && clients.size() == 0; }));
    client = *std::move(result);
    witness();
    EXPECT_EQ(tls_resumed(*a->side), round > 0) << round;
    EXPECT_EQ(tls_resumed(*b->side), round > 0) << round;
    b->send("ticket");
    ASSERT_TRUE(run_until(loop, [&] { return a->received == "ticket"; }));
  }
}

TEST_F(TlsTest, RefusesAWrongName) {
  shake("example.org");
  ASSERT_FALSE(client.ok());
  EXPECT_NE(message_of(client.status()).find("hostname mismatch"), std::string_view::npos)
      << client.status();
  EXPECT_FALSE(server.ok());
  shake("127.0.0.2");
  ASSERT_FALSE(client.ok());
  EXPECT_NE(message_of(client.status()).find("IP address mismatch"), std::string_view::npos)
      << client.status();
}

TEST_F(TlsTest, TakesOneOfTheNamesThatTheContextHas) {
  const Certificate named = make_certificate(
      "server", "DNS:other.example,IP:192.0.2.1,URI:spiffe://example/echo", &ca);
  server_tls = *TlsServerContext::create(named.certificate, named.key);
  const auto with = [this](std::vector<std::string> names) {
    TlsClientContext::Options options;
    options.ca_pem = ca.certificate;
    options.subject_names = std::move(names);
    client_tls = *TlsClientContext::create(std::move(options));
    shake("localhost");
    return client.status();
  };
  EXPECT_TRUE(with({"nobody", "spiffe://example/echo"}).ok()) << client.status();
  EXPECT_TRUE(with({"other.example"}).ok()) << client.status();
  EXPECT_TRUE(with({"192.0.2.1"}).ok()) << client.status();
  const absl::Status refused = with({"spiffe://example/ech", "localhost", "192.0.2.2"});
  EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
  EXPECT_NE(message_of(refused).find("subject_names"), std::string_view::npos) << refused;
}

TEST_F(TlsTest, ShowsItsCertificateToAServerThatAsks) {
  const Certificate own = make_certificate("proxy", "DNS:proxy", &ca);
  const Certificate named = make_certificate("server", "DNS:localhost", &ca);
  server_tls = *TlsServerContext::create(named.certificate, named.key, ca.certificate);
  TlsClientContext::Options options;
  options.ca_pem = ca.certificate;
  options.identity = *TlsServerContext::create(own.certificate, own.key);
  client_tls = *TlsClientContext::create(std::move(options));
  shake("localhost");
  ASSERT_TRUE(client.ok() && server.ok()) << server.status();
  EXPECT_EQ(peer_certificate_sha256(**server).size(), 64U);
}

TEST_F(TlsTest, RefusesAnUnknownIssuerAndAnExpiredCertificate) {
  const Certificate other = make_certificate("other CA", "");
  client_tls = *TlsClientContext::create(other.certificate);
  shake("localhost");
  EXPECT_NE(message_of(client.status()).find("certificate not accepted"), std::string_view::npos)
      << client.status();
  client_tls = *TlsClientContext::create(ca.certificate);
  const Certificate old = make_certificate("server", "DNS:localhost", &ca, -60);
  server_tls = *TlsServerContext::create(old.certificate, old.key);
  shake("localhost");
  EXPECT_NE(message_of(client.status()).find("expired"), std::string_view::npos) << client.status();
}

TEST_F(TlsTest, UnverifiedTakesAnyone) {
  client_tls = TlsClientContext::create_unverified();
  shake("whatever.example");
  witness();
  EXPECT_EQ(peer_certificate_sha256(*a->side).size(), 64U);
}

TEST_F(TlsTest, AsksForAClientCertificate) {
  server_tls = *TlsServerContext::create(leaf.certificate, leaf.key, ca.certificate);
  shake("localhost");
  EXPECT_FALSE(server.ok());
}

TEST_F(TlsTest, ShowsTheCertificateOfTheNameThatIsAskedFor) {
  const auto context_for = [&](const std::string& name, const std::string& names) {
    const Certificate certificate = make_certificate(name, names, &ca);
    return *TlsServerContext::create(certificate.certificate, certificate.key);
  };
  const std::vector<std::shared_ptr<const TlsServerContext>> contexts = {
      context_for("front", "DNS:localhost"), context_for("wild", "DNS:*.example.com"),
      context_for("shop", "DNS:Shop.example.com"), context_for("late", "DNS:shop.example.com")};
  server_tls = *TlsServerContext::combine(contexts, ClientCertificates::kNone, "");
  const auto shown = [&](const std::string& name) {
    shake(name);
    return client.ok() ? peer_certificate_sha256(**client) : "";
  };
  EXPECT_EQ(shown("shop.example.com"), certificate_info(*contexts[2]).sha256);
  EXPECT_EQ(shown("SHOP.example.com"), certificate_info(*contexts[2]).sha256);
  EXPECT_EQ(shown("other.example.com"), certificate_info(*contexts[1]).sha256);
  EXPECT_EQ(shown("localhost"), certificate_info(*contexts[0]).sha256);
  shake("a.b.example.com");
  EXPECT_FALSE(client.ok()) << "a wildcard stands for one part";
}

TEST_F(TlsTest, TellsOnlyOfAPeerThatItVerified) {
  const Certificate front = make_certificate("front", "DNS:localhost", &ca);
  const auto plain = *TlsServerContext::create(front.certificate, front.key);
  server_tls = *TlsServerContext::combine({plain}, ClientCertificates::kOptional, ca.certificate);
  shake("localhost");
  ASSERT_TRUE(server.ok() && client.ok());
  EXPECT_FALSE(verified_peer(**server)) << "the client has none";
  EXPECT_TRUE(verified_peer(**client)) << "the client verified the server";
  server_tls = *TlsServerContext::combine({plain}, ClientCertificates::kRequired, ca.certificate);
  shake("localhost");
  EXPECT_FALSE(server.ok());
  EXPECT_FALSE(TlsServerContext::combine({plain}, ClientCertificates::kRequired, "x").ok());
}

TEST_F(TlsTest, TakesWhatWasReadBeforeTheHandshake) {
  TcpPair pair = testing::make_tcp_pair(loop);
  group.spawn(connect_into(loop, std::move(pair.client), client_tls, soon(loop), client));
  // The whole hello is read by somebody else, who then gives the side away.
  AsyncSide reader(loop, std::move(pair.server));
  ASSERT_TRUE(run_task(loop, reader.read_more(65536, soon(loop))).ok());
  std::string early;
  std::unique_ptr<Side> plain = reader.release(early);
  ASSERT_FALSE(early.empty());
  auto accepted =
      run_task(loop, tls_accept(loop, std::move(plain), server_tls, soon(loop), std::move(early)));
  EXPECT_TRUE(accepted.ok()) << accepted.status();
  ASSERT_TRUE(run_until(loop, [&] { return group.size() == 0; }));
  EXPECT_TRUE(client.ok()) << client.status();
}

TEST_F(TlsTest, GivesUpAtTheDeadline) {
  TcpPair pair = testing::make_tcp_pair(loop);
  auto result = run_task(loop, tls_accept(loop, std::move(pair.server), server_tls,
                                          loop.clock().now() + milliseconds(30)));
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
}

TEST_F(TlsTest, ToldOfAPeerThatSpeaksNoTls) {
  TcpPair pair = testing::make_tcp_pair(loop);
  Witness plain(std::move(pair.client));
  plain.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  auto result = run_task(loop, tls_accept(loop, std::move(pair.server), server_tls, soon(loop)));
  ASSERT_TRUE(absl::IsUnavailable(result.status())) << result.status();
  EXPECT_NE(message_of(result.status()).find("http request"), std::string_view::npos)
      << result.status();
}

TEST_F(TlsTest, ToldOfAPeerThatLeavesInTheHandshake) {
  TcpPair pair = testing::make_tcp_pair(loop);
  pair.client.reset();
  auto result = run_task(loop, tls_accept(loop, std::move(pair.server), server_tls, soon(loop)));
  EXPECT_TRUE(absl::IsUnavailable(result.status())) << result.status();
}

TEST_F(TlsTest, BrokenRecordsAreAnError) {
  TcpPair pair = testing::make_tcp_pair(loop);
  // Between the two: a man in the middle who spoils the bytes once told so.
  TcpPair middle = testing::make_tcp_pair(loop);
  struct Spoiler final : SideUser {
    void on_bytes(Side&, MutableBytes bytes) override {
      if (spoil) {
        bytes.back() ^= 1;
      }
      to->write(bytes);
    }
    void on_end(Side&) override {}
    void on_error(Side&, absl::Status) override {}
    void on_writable(Side&) override {}
    Side* to = nullptr;
    bool spoil = false;
  };
  Spoiler forth;
  Spoiler back;
  forth.to = middle.client.get();
  back.to = pair.server.get();
  pair.server->set_user(&forth);
  middle.client->set_user(&back);
  pair.server->resume();
  middle.client->resume();
  group.spawn(accept_into(loop, std::move(middle.server), server_tls, soon(loop), server));
  client = run_task(loop,
                    tls_connect(loop, std::move(pair.client), client_tls, "localhost", soon(loop)));
  ASSERT_TRUE(run_until(loop, [&] { return group.size() == 0; }));
  witness();
  a->send("good");
  ASSERT_TRUE(run_until(loop, [&] { return b->received == "good"; }));
  forth.spoil = true;
  a->send("bad");
  ASSERT_TRUE(run_until(loop, [&] { return !b->error.ok(); }));
  EXPECT_TRUE(absl::IsUnavailable(b->error)) << b->error;
  EXPECT_EQ(b->received, "good");
  ASSERT_TRUE(run_until(loop, [&] { return !a->error.ok(); })) << "the alert tells the other";
}

TEST_F(TlsTest, MayBeDestroyedInCallbacks) {
  shake("localhost");
  witness();
  b->destroy = true;
  a->send("boom");
  EXPECT_TRUE(run_until(loop, [&] { return b->side == nullptr; }));
  EXPECT_TRUE(run_until(loop, [&] { return a->ended || !a->error.ok(); }));
  shake("localhost");
  witness();
  b->destroy = true;
  a->side->end();
  EXPECT_TRUE(run_until(loop, [&] { return b->side == nullptr; }));
}

TEST_F(TlsTest, WorksUnderAnAsyncSide) {
  shake("localhost");
  ASSERT_TRUE(client.ok() && server.ok());
  AsyncSide asking(loop, *std::move(client));
  AsyncSide asked(loop, *std::move(server));
  ASSERT_TRUE(run_task(loop, asking.write_all("question", soon(loop))).ok());
  ASSERT_TRUE(run_task(loop, asked.read_more(100, soon(loop))).ok());
  EXPECT_EQ(asked.unread(), "question");
}

TEST(TlsContext, SaysWhatDoesNotParseOrMatch) {
  const Certificate one = make_certificate("one", "DNS:one");
  const Certificate two = make_certificate("two", "DNS:two");
  EXPECT_TRUE(TlsServerContext::create(one.certificate, one.key).ok());
  auto mixed = TlsServerContext::create(one.certificate, two.key);
  EXPECT_NE(message_of(mixed.status()).find("does not belong"), std::string_view::npos);
  EXPECT_TRUE(absl::IsInvalidArgument(TlsServerContext::create("nonsense", one.key).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(TlsServerContext::create(one.certificate, "").status()));
  std::string cut = one.certificate;
  cut.replace(60, 8, "########");
  auto broken = TlsServerContext::create(one.certificate + cut, one.key);
  EXPECT_NE(message_of(broken.status()).find("number 2"), std::string_view::npos)
      << broken.status();
  EXPECT_FALSE(TlsServerContext::create(one.certificate, one.key, "nonsense").ok());
  EXPECT_FALSE(TlsClientContext::create("nonsense").ok());
  EXPECT_TRUE(TlsClientContext::create("").ok());
}

TEST(Certificate, TellsPeopleWhatItIsFor) {
  const Certificate ca = make_certificate("the CA", "");
  const Certificate leaf = make_certificate(
      "leaf", "DNS:localhost,IP:127.0.0.1,IP:::1,URI:spiffe://sluice/g/n", &ca, 7200);
  const auto info = certificate_info(leaf.certificate + ca.certificate);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->subject, "CN=leaf");
  EXPECT_EQ(info->issuer, "CN=the CA");
  EXPECT_EQ(info->names,
            (std::vector<std::string>{"localhost", "127.0.0.1", "::1", "spiffe://sluice/g/n"}));
  EXPECT_EQ(info->not_after - info->not_before, seconds(14'400));
  EXPECT_LT(info->not_after - system_wall(), seconds(7201));
  const auto tls = TlsServerContext::create(leaf.certificate, leaf.key);
  ASSERT_TRUE(tls.ok());
  EXPECT_EQ(certificate_info(**tls).sha256, info->sha256);
  EXPECT_EQ(info->sha256.size(), 64U);
  EXPECT_FALSE(certificate_info("nothing").ok());
}

}  // namespace
}  // namespace sluice::net
