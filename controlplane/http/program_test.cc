// The real sluice-control, driven as a person with curl would.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "controlplane/http/test_client.h"
#include "proxy/base/encoding.h"

namespace sluice::controlplane::http {
namespace {

using testing::Client;
using testing::Reply;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// A process whose stderr is read line by line.
class Program {
 public:
  Program(const std::vector<std::string>& arguments, const std::string& password) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    std::vector<std::string> words = {SLUICE_CONTROL};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) {
      argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], 2);
      password.empty() ? ::unsetenv("SLUICE_ADMIN_PASSWORD")
                       : ::setenv("SLUICE_ADMIN_PASSWORD", password.c_str(), 1);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    stderr_ = ::fdopen(ends[0], "r");
  }
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
    std::fclose(stderr_);
  }

  // Reads until it says `listening grpc`, which comes last, or ends.
  bool ready() {
    char* line = nullptr;
    std::size_t size = 0;
    while (ports.count("grpc") == 0 && ::getline(&line, &size, stderr_) > 0) {
      log += line;
      const std::string_view text(line);
      const std::size_t at = text.find("listening ");
      if (at != std::string_view::npos) {
        std::istringstream words{std::string(text.substr(at + 10))};
        std::string name;
        std::string address;
        words >> name >> address;
        ports[name] = static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
      }
    }
    std::free(line);
    return ports.count("grpc") == 1;
  }
  // The exit status; -1 if a signal ended it.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int terminate() {
    ::kill(pid_, SIGTERM);
    return wait();
  }

  std::map<std::string, std::uint16_t> ports;
  std::string log;

 private:
  pid_t pid_ = -1;
  FILE* stderr_ = nullptr;
};

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest()
      : data_(std::filesystem::temp_directory_path() / ("sluice-program-" + hex(random_bytes(8)))) {
  }
  ~ProgramTest() override {
    program_.reset();
    std::filesystem::remove_all(data_);
  }

  std::vector<std::string> arguments(std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"--data-dir",  data_.string(), "--http",
                                    "127.0.0.1:0", "--grpc",       "127.0.0.1:0"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  void start(std::vector<std::string> more = {}, const std::string& password = "long enough") {
    program_.reset();
    program_ = std::make_unique<Program>(arguments(std::move(more)), password);
    ASSERT_TRUE(program_->ready()) << program_->log;
    ca_ = read_file(data_ / "tls" / "ca.pem");
    client_ = std::make_unique<Client>(program_->ports["door"], ca_);
  }
  void login(const std::string& password = "long enough") {
    const Reply reply =
        client_->call("AuthService/Login", R"({"user":"admin","password":")" + password + R"("})");
    ASSERT_EQ(reply.status, 200) << reply.body;
    client_->token = reply.text("token");
  }
  Reply expect_ok(const std::string& method, const std::string& json) {
    Reply reply = client_->call(method, json);
    EXPECT_EQ(reply.status, 200) << method << ": " << reply.body;
    return reply;
  }
  // Application `app` subscribed to the published Api `echo`; its keys as Basic credentials.
  std::string make_story() {
    expect_ok("ApiService/CreateApi", R"({"api":{"name":"echo","spec":{"context":"/echo",
        "version":"v1.0","type":"WS","plans":["Gold"],
        "endpoints":{"production":["ws://127.0.0.1:9100/"]}}}})");
    expect_ok("ApiService/ChangeApiState", R"({"name":"echo","action":"publish"})");
    expect_ok("ApplicationService/CreateApplication", R"({"application":{"name":"app"}})");
    expect_ok("SubscriptionService/CreateSubscription", R"({"subscription":{"spec":{
        "application":"app","api":"echo","plan":"Gold"}}})");
    const Reply keys = expect_ok("CredentialService/GenerateKeys",
                                 R"({"application":"app","keyType":"PRODUCTION"})");
    return base64(keys.text("consumerKey") + ":" + keys.text("consumerSecret"));
  }

  const std::filesystem::path data_;
  std::unique_ptr<Program> program_;
  std::string ca_;
  std::unique_ptr<Client> client_;
};

TEST_F(ProgramTest, TellsTheWholeStoryAndRemembersIt) {
  start({"--public", "127.0.0.1:0"});
  EXPECT_EQ(client_->call("ApiService/ListApi", "{}").status, 401);
  login();
  const std::string basic = make_story();
  Client application(program_->ports["public"], ca_);
  const Reply token = application.form("/oauth2/token", basic, "grant_type=client_credentials");
  ASSERT_EQ(token.status, 200) << token.body;
  const std::string access_token = token.text("access_token");
  EXPECT_EQ(access_token.size(), 43u);
  EXPECT_EQ(application.form("/oauth2/revoke", basic, "token=" + access_token).status, 200);
  EXPECT_EQ(program_->terminate(), 0);

  start();
  EXPECT_EQ(client_->call("ApiService/ListApi", "{}").status, 401);
  login();
  EXPECT_EQ(expect_ok("ApiService/GetApi", R"({"name":"echo"})").text("name"), "echo");
  EXPECT_EQ(client_->form("/oauth2/token", basic, "grant_type=client_credentials").status, 200);
  EXPECT_EQ(program_->terminate(), 0);
}

TEST_F(ProgramTest, MakesItsFirstResources) {
  start();
  login();
  EXPECT_EQ(expect_ok("PlanService/GetPlan", R"({"name":"Gold"})").json().at("spec").at("messages"),
            "5000");
  const boost::json::value wss =
      expect_ok("ListenerService/GetListener", R"({"name":"wss"})").json();
  EXPECT_EQ(wss.at("spec").at("port"), 8099);
  EXPECT_EQ(wss.at("spec").at("tls").at("secret"), "wss-default");
  const std::string secret = expect_ok("SecretService/GetSecret", R"({"name":"wss-default"})").body;
  EXPECT_EQ(secret.find("PRIVATE KEY"), std::string::npos);
  EXPECT_NE(secret.find("BEGIN CERTIFICATE"), std::string::npos);
}

TEST_F(ProgramTest, RefusesAChangeThatCannotCompileAndNamesTheField) {
  start();
  login();
  const Reply reply = client_->call("ApiService/CreateApi",
                                    R"({"api":{"name":"a","spec":{"context":"/a","version":"1",
                                        "endpoints":{"production":["ftp://x"]}}}})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.text("code"), "invalid_argument");
  EXPECT_NE(reply.text("message").find("spec.endpoints.production[0]"), std::string::npos)
      << reply.body;
}

TEST_F(ProgramTest, WritesARandomFirstPasswordAndRemovesItWhenItChanges) {
  start({}, "");
  const std::filesystem::path file = data_ / "admin-password";
  struct stat info {};
  ASSERT_EQ(::stat(file.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_NE(program_->log.find(file.string()), std::string::npos);
  std::string password = read_file(file);
  password.pop_back();
  EXPECT_EQ(program_->log.find(password), std::string::npos);
  login(password);
  expect_ok("UserService/SetPassword", R"({"name":"admin","password":"another one"})");
  EXPECT_FALSE(std::filesystem::exists(file));
  EXPECT_EQ(client_->call("ApiService/ListApi", "{}").status, 401);
  login("another one");
  EXPECT_EQ(program_->terminate(), 0);

  start({}, "ignored from now on");
  login("another one");
}

TEST_F(ProgramTest, ResetsTheAdminPasswordWhileItDoesNotRun) {
  start();
  std::vector<std::string> words = {"--data-dir", data_.string(), "reset-admin-password"};
  EXPECT_EQ(Program(words, "").wait(), 1);
  EXPECT_EQ(program_->terminate(), 0);
  EXPECT_EQ(Program(words, "").wait(), 0);
  std::string password = read_file(data_ / "admin-password");
  password.pop_back();
  start();
  login(password);
}

TEST_F(ProgramTest, SharesItsDataWithNobody) {
  start();
  Program second(arguments(), "");
  EXPECT_FALSE(second.ready());
  EXPECT_EQ(second.wait(), 1);
  EXPECT_NE(second.log.find("another sluice-control uses " + data_.string()), std::string::npos)
      << second.log;
}

TEST_F(ProgramTest, SaysWhichPortIsTaken) {
  start();
  for (const char* name : {"door", "grpc"}) {
    const std::string address = "127.0.0.1:" + std::to_string(program_->ports[name]);
    const std::string other = data_.string() + "-other";
    Program second(
        {"--data-dir", other, "--http", name == std::string("door") ? address : "127.0.0.1:0",
         "--grpc", name == std::string("grpc") ? address : "127.0.0.1:0"},
        "long enough");
    EXPECT_FALSE(second.ready());
    EXPECT_EQ(second.wait(), 1);
    EXPECT_NE(second.log.find(address), std::string::npos) << second.log;
    std::filesystem::remove_all(other);
  }
}

TEST_F(ProgramTest, KeepsItsDataDirectoryToItself) {
  start();
  struct stat info {};
  ASSERT_EQ(::stat(data_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  ASSERT_EQ(::stat((data_ / "control.db").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0077, 0u);
}

TEST_F(ProgramTest, SpeaksPlainTextOnlyWhenToldTo) {
  start({"--insecure-plaintext"});
  Client plain(program_->ports["door"]);
  EXPECT_EQ(plain.get("/healthz").status, 200);
}

TEST_F(ProgramTest, ShowsItsMetrics) {
  start();
  login();
  const Reply reply = client_->get("/metrics", client_->token);
  EXPECT_EQ(reply.status, 200);
  for (const char* name : {"sluice_store_revision ", "sluice_proxies_connected 0",
                           "sluice_records_stored_total 0", "process_open_fds"}) {
    EXPECT_NE(reply.body.find(name), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace sluice::controlplane::http
