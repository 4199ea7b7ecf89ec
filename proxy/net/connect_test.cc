#include "proxy/net/connect.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <thread>
#include <vector>

#include "proxy/base/encoding.h"
#include "proxy/net/async_side.h"
#include "proxy/net/tcp_side.h"
#include "proxy/net/testing.h"

namespace sluice::net {
namespace {

using testing::run_task;
using testing::run_until;
using testing::soon;
using testing::Witness;

TEST(Acceptor, NamesTheAddressThatIsTaken) {
  Loop loop(1);
  auto first = Acceptor::listen(loop, {"127.0.0.1", 0, true}, [](std::unique_ptr<Side>) {});
  ASSERT_TRUE(first.ok()) << first.status();
  const std::uint16_t port = (*first)->port();
  EXPECT_NE(port, 0);
  auto second = Acceptor::listen(loop, {"127.0.0.1", port, false}, [](std::unique_ptr<Side>) {});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(message_of(second.status()).find("127.0.0.1:" + std::to_string(port)),
            std::string_view::npos);
  // Another loop of this process may share it.
  EXPECT_TRUE(Acceptor::listen(loop, {"127.0.0.1", port, true}, [](std::unique_ptr<Side>) {}).ok());
  EXPECT_FALSE(probe_port("127.0.0.1", port).ok());
}

TEST(Acceptor, RefusesWhatIsNoAddress) {
  Loop loop(1);
  EXPECT_FALSE(Acceptor::listen(loop, {"localhost", 0, false}, nullptr).ok());
  EXPECT_FALSE(Acceptor::listen(loop, {"192.0.2.1", 0, false}, nullptr).ok());
}

TEST(Addresses, TellLinkLocalAndMetadataOnes) {
  for (const char* ip :
       {"169.254.0.9", "169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "febf::1",
        "[fe80::1]", "fd00:ec2::254", "fd00:0ec2:0::254", "100.100.100.200"}) {
    EXPECT_TRUE(is_link_local_or_metadata(ip)) << ip;
  }
  for (const char* ip : {"169.253.255.255", "127.0.0.1", "::1", "fec0::1", "fd00:ec2::253",
                         "100.100.100.201", "metadata", ""}) {
    EXPECT_FALSE(is_link_local_or_metadata(ip)) << ip;
  }
}

using Answer = absl::StatusOr<std::vector<std::string>>;

TEST(Resolver, LeavesOutLinkLocalAndMetadataAddressesUnlessTheyAreAllowed) {
  Loop loop(1);
  int asked = 0;
  Resolver resolver([&asked](const std::string& host) -> Answer {
    ++asked;
    if (host == "both") {
      return std::vector<std::string>{"fe80::1", "127.0.0.1"};
    }
    return std::vector<std::string>{"169.254.169.254"};
  });
  const auto resolve = [&](const std::string& host) {
    return run_task(loop, resolver.resolve(loop, host, soon(loop)));
  };
  EXPECT_EQ(resolve("inside").value(), std::vector<std::string>{"169.254.169.254"});
  resolver.allow_local(false);
  const Answer refused = resolve("inside");
  EXPECT_TRUE(absl::IsUnavailable(refused.status()));
  EXPECT_NE(message_of(refused.status()).find("allow_local_endpoints"), std::string_view::npos);
  EXPECT_EQ(resolve("both").value(), std::vector<std::string>{"127.0.0.1"});
  EXPECT_EQ(resolve("169.254.0.1").value(), std::vector<std::string>{"169.254.0.1"});
  EXPECT_EQ(resolver.refused_local(), 1u);
  resolver.allow_local(true);
  EXPECT_TRUE(resolve("inside").ok());
  EXPECT_EQ(asked, 2) << "what is cached is judged anew";
}

TEST(Acceptor, ProbeFindsAFreePort) {
  auto port = probe_port("127.0.0.1", 0);
  ASSERT_TRUE(port.ok()) << port.status();
  EXPECT_NE(*port, 0);
  EXPECT_TRUE(probe_port("127.0.0.1", *port).ok());
}

TEST(Acceptor, TakesBothFamiliesOnTheWildcard) {
  Loop loop(1);
  std::vector<std::unique_ptr<Side>> sides;
  auto acceptor = Acceptor::listen(loop, {"[::]", 0, false}, [&](std::unique_ptr<Side> side) {
    sides.push_back(std::move(side));
  });
  if (!acceptor.ok()) {
    GTEST_SKIP() << "no IPv6 here: " << acceptor.status();
  }
  Resolver resolver;
  ConnectTarget target{"127.0.0.1", (*acceptor)->port(), nullptr, ""};
  ASSERT_TRUE(run_task(loop, connect(loop, resolver, target, soon(loop))).ok());
  target.host = "[::1]";
  ASSERT_TRUE(run_task(loop, connect(loop, resolver, target, soon(loop))).ok());
  ASSERT_TRUE(run_until(loop, [&] { return sides.size() == 2; }));
  EXPECT_EQ(sides[0]->peer().ip, "127.0.0.1");
  EXPECT_EQ(sides[1]->peer().ip, "::1");
}

TEST(Acceptor, ClosesAtOnceWhenNoDescriptorIsLeft) {
  Loop loop(1);
  std::vector<std::unique_ptr<Witness>> accepted;
  auto acceptor = Acceptor::listen(loop, {"127.0.0.1", 0, false}, [&](std::unique_ptr<Side> side) {
    accepted.push_back(std::make_unique<Witness>(std::move(side)));
  });
  ASSERT_TRUE(acceptor.ok());
  Resolver resolver;
  const ConnectTarget target{"127.0.0.1", (*acceptor)->port(), nullptr, ""};
  auto first = run_task(loop, connect(loop, resolver, target, soon(loop)));
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(run_until(loop, [&] { return accepted.size() == 1; }));

  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit low = before;
  low.rlim_cur = 64;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<int> fill;
  for (int fd; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) {
    fill.push_back(fd);
  }
  // One for the client; none is left to accept it.
  ::close(fill.back());
  fill.pop_back();
  auto second = run_task(loop, connect(loop, resolver, target, soon(loop)));
  ASSERT_TRUE(second.ok()) << second.status();
  Witness client(*std::move(second));
  EXPECT_TRUE(run_until(loop, [&] { return client.ended || !client.error.ok(); }));
  EXPECT_EQ((*acceptor)->refused_no_descriptors(), 1U);
  EXPECT_EQ(accepted.size(), 1U);

  for (int fd : fill) {
    ::close(fd);
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  auto third = run_task(loop, connect(loop, resolver, target, soon(loop)));
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_TRUE(run_until(loop, [&] { return accepted.size() == 2; }));
}

class UnixAcceptor : public ::testing::Test {
 protected:
  UnixAcceptor()
      : path_(::testing::TempDir() + "sluice-" + hex(random_bytes(6)) + ".sock"), loop_(1) {}
  ~UnixAcceptor() override { ::unlink(path_.c_str()); }

  absl::StatusOr<std::unique_ptr<Acceptor>> listen() {
    ListenOptions options;
    options.address = "unix:" + path_;
    options.elsewhere = [this](int fd, const sockaddr_storage& peer) {
      handed_.push_back(to_peer_address(peer).ip);
      if (keep_) {
        return false;
      }
      elsewhere_ = adopt_socket(loop_, fd, peer);
      return true;
    };
    return Acceptor::listen(loop_, options,
                            [this](std::unique_ptr<Side> side) { side_ = std::move(side); });
  }
  int dial() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }

  std::string path_;
  Loop loop_;
  bool keep_ = true;
  std::vector<std::string> handed_;
  std::unique_ptr<Side> side_;
  std::unique_ptr<Side> elsewhere_;
};

TEST_F(UnixAcceptor, AcceptsAndLeavesNoFileBehind) {
  auto acceptor = listen();
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  const int fd = dial();
  ASSERT_TRUE(run_until(loop_, [&] { return side_ != nullptr; }));
  EXPECT_EQ(side_->peer().ip, "unix:");
  Witness witness(std::move(side_));
  ASSERT_EQ(::write(fd, "hello", 5), 5);
  ASSERT_TRUE(run_until(loop_, [&] { return witness.received == "hello"; }));
  ::close(fd);
  ASSERT_TRUE(run_until(loop_, [&] { return witness.ended || !witness.error.ok(); }));
  acceptor->reset();
  EXPECT_NE(::access(path_.c_str(), F_OK), 0);
}

TEST_F(UnixAcceptor, GivesAwayWhatAnotherLoopTakes) {
  keep_ = false;
  auto acceptor = listen();
  ASSERT_TRUE(acceptor.ok());
  const int fd = dial();
  ASSERT_TRUE(run_until(loop_, [&] { return elsewhere_ != nullptr; }));
  EXPECT_EQ(side_, nullptr);
  EXPECT_EQ(handed_, std::vector<std::string>{"unix:"});
  ::close(fd);
}

TEST_F(UnixAcceptor, ReplacesASocketOfTheDeadAndNothingElse) {
  {
    auto first = listen();
    ASSERT_TRUE(first.ok());
    EXPECT_FALSE(listen().ok()) << "somebody listens";
    EXPECT_FALSE(probe_port("unix:" + path_, 0).ok());
    EXPECT_EQ(::rename(path_.c_str(), (path_ + ".kept").c_str()), 0);
  }
  // What is left of a process that was killed.
  EXPECT_EQ(::rename((path_ + ".kept").c_str(), path_.c_str()), 0);
  EXPECT_EQ(*probe_port("unix:" + path_, 0), 0);
  EXPECT_TRUE(listen().ok());
  std::ofstream(path_) << "a file";
  const auto refused = listen();
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(message_of(refused.status()).find("no socket"), std::string_view::npos);
  EXPECT_EQ(::access(path_.c_str(), F_OK), 0);
}

TEST(Connect, SaysWhoRefused) {
  Loop loop(1);
  Resolver resolver;
  const std::uint16_t port = *probe_port("127.0.0.1", 0);
  const ConnectTarget target{"127.0.0.1", port, nullptr, ""};
  auto side = run_task(loop, connect(loop, resolver, target, soon(loop)));
  ASSERT_FALSE(side.ok());
  EXPECT_TRUE(absl::IsUnavailable(side.status()));
  const std::string want = fmt::format("127.0.0.1:{}: Connection refused", port);
  EXPECT_NE(message_of(side.status()).find(want), std::string_view::npos) << side.status();
}

// A listener whose queue is full drops further connection requests, so they hang.
TEST(Connect, GivesUpAtTheDeadline) {
  Loop loop(1);
  Resolver resolver;
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_storage address = *to_sockaddr("127.0.0.1", 0);
  socklen_t size = sockaddr_size(address);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(fd, 0), 0);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  const ConnectTarget target{"127.0.0.1", to_peer_address(address).port, nullptr, ""};
  std::vector<std::unique_ptr<Side>> fill;
  absl::Status status;
  for (int i = 0; i < 10 && status.ok(); ++i) {
    const Mono deadline = loop.clock().now() + milliseconds(100);
    auto side = run_task(loop, connect(loop, resolver, target, deadline));
    status = side.status();
    if (side.ok()) {
      fill.push_back(*std::move(side));
    }
  }
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  ::close(fd);
}

Task<void> connect_into(Loop& loop, Resolver& resolver, ConnectTarget target, absl::Status& out) {
  auto side = co_await connect(loop, resolver, target, kNever);
  out = side.status();
}

TEST(Connect, CanBeCancelled) {
  Loop loop(1);
  Resolver resolver;
  // A name, so that it waits for the resolver's thread.
  const ConnectTarget target{"localhost", 1, nullptr, ""};
  TaskGroup group(loop.executor());
  absl::Status status;
  group.spawn(connect_into(loop, resolver, target, status));
  group.cancel();
  ASSERT_TRUE(run_until(loop, [&] { return group.size() == 0; }));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  loop.turn(milliseconds(20));  // the answer comes to nobody
}

TEST(Resolver, KnowsLocalhostAndLiterals) {
  Loop loop(1);
  Resolver resolver;
  auto local = run_task(loop, resolver.resolve(loop, "localhost", soon(loop)));
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_TRUE(std::any_of(local->begin(), local->end(),
                          [](const std::string& ip) { return ip == "127.0.0.1" || ip == "::1"; }));
  auto again = run_task(loop, resolver.resolve(loop, "localhost", soon(loop)));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, *local);
  auto literal = run_task(loop, resolver.resolve(loop, "[::1]", soon(loop)));
  ASSERT_TRUE(literal.ok());
  EXPECT_EQ(*literal, std::vector<std::string>{"::1"});
}

TEST(Resolver, NamesTheHostThatHasNoAddress) {
  Loop loop(1);
  Resolver resolver;
  auto result = run_task(loop, resolver.resolve(loop, "no-such-host.invalid", soon(loop)));
  ASSERT_FALSE(result.ok());
  EXPECT_NE(message_of(result.status()).find("no-such-host.invalid"), std::string_view::npos)
      << result.status();
}

TEST(Loop, RunsPostsOfOtherThreadsInOrder) {
  Loop loop(1);
  std::vector<int> seen;
  std::thread other([&] {
    for (int i = 0; i < 10'000; ++i) {
      loop.post([&seen, i] { seen.push_back(i); });
    }
    loop.post([&loop] { loop.stop(); });
  });
  loop.run();
  other.join();
  ASSERT_EQ(seen.size(), 10'000U);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(Loop, WakesForTimersAndCoroutines) {
  Loop loop(1);
  const Mono begin = system_mono();
  auto slept = run_task(loop, sleep_until(loop.timers(), loop.clock().now() + milliseconds(30)));
  EXPECT_TRUE(slept.ok());
  EXPECT_GE(system_mono() - begin, milliseconds(29));
}

TEST(Loop, ManualClockNeverWaits) {
  Loop loop(1, Loop::ClockMode::kManual);
  const Mono begin = loop.clock().now();
  bool fired = false;
  Timer timer([](void* f) { *static_cast<bool*>(f) = true; }, &fired);
  loop.timers().arm(timer, begin + std::chrono::hours(1));
  const Mono real = system_mono();
  loop.turn(seconds(30));
  EXPECT_LT(system_mono() - real, seconds(10));
  EXPECT_FALSE(fired);
  EXPECT_EQ(loop.clock().now(), begin);
  // The wheel rounds deadlines up to whole milliseconds.
  const nanoseconds later = std::chrono::hours(1) + milliseconds(1);
  loop.advance(begin + later, loop.clock().wall() + later);
  loop.turn(nanoseconds(0));
  EXPECT_TRUE(fired);
}

}  // namespace
}  // namespace sluice::net
