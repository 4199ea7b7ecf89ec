// The three programs together, as processes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <csignal>
#include <string>
#include <vector>

#include "tests/bench/sockets.h"

namespace sluice::bench {
namespace {

// A child with pipes at its standard input, and at its standard output or error.
class Child {
 public:
  Child(std::vector<std::string> words, int watched_fd) {
    int in[2];
    int out[2];
    EXPECT_EQ(pipe2(in, O_CLOEXEC), 0);
    EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], watched_fd);
    std::vector<char*> argv;
    for (std::string& word : words) {
      argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    in_.reset(in[1]);
    out_.reset(out[0]);
  }
  ~Child() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      wait();
    }
  }

  std::string read_line() {
    std::string line;
    for (char c = 0; read(out_.get(), &c, 1) == 1 && c != '\n';) {
      line += c;
    }
    return line;
  }
  void end_input() { in_.reset(); }
  void kill_now() {
    kill(pid_, SIGKILL);
    wait();
  }
  int wait() {
    int status = 0;
    waitpid(std::exchange(pid_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = 0;
  Fd in_;
  Fd out_;
};

class Programs : public testing::Test {
 protected:
  static std::string address_of(Child& child) {
    const std::string line = child.read_line();
    return line.substr(line.rfind(' ') + 1);
  }

  Child load(const std::string& mode, std::vector<std::string> more) const {
    std::vector<std::string> words{BENCH_LOAD, mode, "--json", "--urls", "ws://" + relay_address_};
    words.insert(words.end(), more.begin(), more.end());
    return Child(words, STDOUT_FILENO);
  }

  Child backend_{{BENCH_BACKEND, "127.0.0.1:0"}, STDERR_FILENO};
  std::string backend_address_ = address_of(backend_);
  Child relay_{{BENCH_RELAY, "127.0.0.1:0", backend_address_}, STDERR_FILENO};
  std::string relay_address_ = address_of(relay_);
};

std::int64_t number(const boost::json::object& object, std::string_view key) {
  return object.at({key.data(), key.size()}).to_number<std::int64_t>();
}

TEST_F(Programs, EchoesComeBackThroughTheRelay) {
  Child child =
      load("echo", {"--connections", "5", "--depth", "3", "--messages", "40", "--bytes", "70000"});
  child.read_line();  // all are open
  const auto report = boost::json::parse(child.read_line()).as_object();
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(number(report, "messages"), 200);
  EXPECT_EQ(number(report, "errors"), 0);
}

TEST_F(Programs, LedgerNamesAConnectionThatWasCutOff) {
  Child child = load("ledger", {"--connections", "2", "--interval-ms", "5"});
  child.read_line();
  relay_.kill_now();
  const auto report = boost::json::parse(child.read_line()).as_object();
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(number(report, "closed_by_peer"), 2);
  EXPECT_EQ(number(report, "lost"), 0);
  for (const boost::json::value& ledger : report.at("ledgers").as_array()) {
    EXPECT_EQ(number(ledger.as_object(), "close_code"), 1006);
  }
}

TEST_F(Programs, EchoFailsWhenTheRelayIsCutOff) {
  Child child = load("echo", {"--connections", "2", "--seconds", "30"});
  child.read_line();
  relay_.kill_now();
  const auto report = boost::json::parse(child.read_line()).as_object();
  EXPECT_EQ(child.wait(), 1);
  EXPECT_GE(number(report, "errors"), 2);
}

TEST_F(Programs, IdleConnectionsEchoOnceAtTheEnd) {
  Child child = load("idle", {"--connections", "50"});
  child.read_line();
  EXPECT_NE(child.read_line().find("idle"), std::string::npos);
  child.end_input();
  const auto report = boost::json::parse(child.read_line()).as_object();
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(number(report, "messages"), 50);
}

TEST_F(Programs, HandshakesBeginAgainAfterEachClose) {
  Child child = load("handshake", {"--connections", "4", "--messages", "40"});
  const auto report = boost::json::parse(child.read_line()).as_object();
  EXPECT_EQ(child.wait(), 0);
  EXPECT_GE(number(report, "messages"), 40);
  EXPECT_EQ(number(report, "errors"), 0);
}

TEST_F(Programs, BackendAnswersPlainRequestsOneAfterTheOther) {
  const absl::StatusOr<Address> address = resolve(std::string_view(backend_address_));
  ASSERT_TRUE(address.ok());
  absl::StatusOr<Fd> fd = start_connect(*address);
  ASSERT_TRUE(fd.ok());
  fcntl(fd->get(), F_SETFL, 0);
  const std::string request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string two = request + request;
  ASSERT_EQ(write(fd->get(), two.data(), two.size()), static_cast<ssize_t>(two.size()));
  shutdown(fd->get(), SHUT_WR);
  std::string answer(10'000, '\0');
  std::size_t size = 0;
  for (ssize_t got = 1; got > 0; size += static_cast<std::size_t>(std::max<ssize_t>(got, 0))) {
    got = read(fd->get(), answer.data() + size, answer.size() - size);
  }
  answer.resize(size);
  EXPECT_EQ(answer.find("HTTP/1.1 200 OK"), 0U);
  EXPECT_NE(answer.find("HTTP/1.1 200 OK", 1024), std::string::npos);
  EXPECT_EQ(std::ranges::count(answer, 'x'), 2 * (1024 + 1));
}

}  // namespace
}  // namespace sluice::bench
