#include "controlplane/options.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::controlplane {
namespace {

Parsed parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "sluice-control");
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

TEST(Address, IsALiteralWithAPort) {
  EXPECT_EQ(parse_address("127.0.0.1:9443")->text(), "127.0.0.1:9443");
  EXPECT_EQ(parse_address("[::]:0")->text(), "[::]:0");
  EXPECT_EQ(parse_address("[2001:db8::1]:65535")->ip, "2001:db8::1");
  for (const char* text : {"", "9443", "localhost:1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
                           "127.0.0.1:-1", "::1:9443", "[::1]", "[127.0.0.1]:1", "127.0.0.1:1x"}) {
    EXPECT_FALSE(parse_address(text).ok()) << text;
  }
}

TEST(Address, KnowsLoopback) {
  EXPECT_TRUE(parse_address("127.8.9.1:1")->loopback());
  EXPECT_TRUE(parse_address("[::1]:1")->loopback());
  EXPECT_FALSE(parse_address("0.0.0.0:1")->loopback());
  EXPECT_FALSE(parse_address("[::]:1")->loopback());
}

TEST(Options, HaveTheDocumentedDefaults) {
  const Options options = *parse({}).options;
  EXPECT_EQ(options.http.text(), "127.0.0.1:9443");
  EXPECT_EQ(options.grpc.text(), "127.0.0.1:9444");
  EXPECT_FALSE(options.open);
  EXPECT_FALSE(options.insecure_plaintext);
}

TEST(Options, ComeFromFlags) {
  const Options options =
      *parse({"--data-dir", "d", "--http", "127.0.0.1:0", "--public", "[::]:443", "--grpc",
              "127.0.0.1:1", "--tls-cert", "c", "--tls-key", "k", "--insecure-plaintext"})
           .options;
  EXPECT_EQ(options.data_dir, "d");
  EXPECT_EQ(options.http.port, 0);
  EXPECT_EQ(options.open->text(), "[::]:443");
  EXPECT_EQ(options.tls_key, "k");
  EXPECT_TRUE(options.insecure_plaintext);
}

TEST(Options, KnowTheOneCommand) {
  const Options options = *parse({"--data-dir", "d", "reset-admin-password"}).options;
  EXPECT_TRUE(options.reset_admin_password);
  EXPECT_EQ(parse({"reset-admin-password", "--data-dir", "d"}).options->data_dir, "d");
  EXPECT_EQ(parse({"something"}).exit_status, 2);
}

TEST(Options, RefuseWhatIsWrongWithAStatus) {
  EXPECT_EQ(parse({"--http", "nowhere"}).exit_status, 2);
  EXPECT_EQ(parse({"--no-such-flag"}).exit_status, 2);
  EXPECT_EQ(parse({"--database", "postgresql://h/d"}).exit_status, 1);
  EXPECT_EQ(parse({"--database", "mysql"}).exit_status, 1);
  EXPECT_EQ(parse({"--tls-cert", "c"}).exit_status, 1);
  EXPECT_EQ(parse({"--secret-key-file", "f"}).exit_status, 2);
  EXPECT_EQ(parse({"--config", "/nowhere"}).exit_status, 1);
  const Parsed help = parse({"--help"});
  EXPECT_FALSE(help.options);
  EXPECT_EQ(help.exit_status, 0);
}

TEST(Config, FillsOptions) {
  Options options;
  const std::string text =
      "data_dir: d\nhttp: 127.0.0.1:1\npublic: '[::]:2'\ninsecure_plaintext: true\n";
  ASSERT_TRUE(apply_config(text, "f.yaml", options).ok());
  EXPECT_EQ(options.data_dir, "d");
  EXPECT_EQ(options.http.port, 1);
  EXPECT_EQ(options.open->port, 2);
  EXPECT_TRUE(options.insecure_plaintext);
  EXPECT_TRUE(apply_config("", "f.yaml", options).ok());
}

TEST(Config, SaysFileLineAndFieldOfEveryFault) {
  Options options;
  const absl::Status status =
      apply_config("data_dir: d\nhttp: nowhere\nport: 1\ngrpc: [1]\n", "f.yaml", options);
  const std::string text(message_of(status));
  EXPECT_NE(text.find("f.yaml:2: http: "), std::string::npos) << text;
  EXPECT_NE(text.find("f.yaml:3: port: no such field"), std::string::npos) << text;
  EXPECT_NE(text.find("f.yaml:4: grpc: must be one value"), std::string::npos) << text;
}

TEST(Config, RefusesWhatIsNoMap) {
  Options options;
  EXPECT_FALSE(apply_config("- a\n", "f.yaml", options).ok());
  EXPECT_FALSE(apply_config("a: [\n", "f.yaml", options).ok());
  EXPECT_FALSE(apply_config("insecure_plaintext: maybe\n", "f.yaml", options).ok());
}

}  // namespace
}  // namespace sluice::controlplane
