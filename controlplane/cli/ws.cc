// An interactive WebSocket client: lines typed are text messages, what comes is printed, closes are
// told in words. Piped input works too: it sends all lines, then closes when the answers pause.
#include <fmt/core.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <mutex>
#include <thread>

#include "controlplane/cli/commands.h"
#include "controlplane/cli/run.h"
#include "proxy/base/encoding.h"
#include "proxy/base/limits.h"
#include "proxy/http/parse.h"
#include "proxy/net/async_side.h"
#include "proxy/websocket/close.h"
#include "proxy/websocket/handshake.h"
#include "proxy/websocket/reader.h"

namespace sluice::controlplane::cli {
namespace {

constexpr nanoseconds kPipedPause = seconds(1);  // without an answer, once the input has ended

struct WsFlags {
  std::string url;
  std::string token;
  std::vector<std::string> headers;
  std::string ca;
};

std::string_view meaning(std::uint16_t code) {
  switch (code) {
    case 1000:
      return "normal";
    case 1001:
      return "going away";
    case 1002:
      return "protocol error";
    case 1005:
      return "no code given";
    case 1008:
      return "policy";
    case 1009:
      return "message too large";
    case 1012:
      return "service restarts";
    case 1013:
      return "try again later";
    case 1014:
      return "the backend failed";
    case 4001:
      return "credentials are not valid any more";
    case 4003:
      return "throttled";
    case 4006:
      return "blocked";
    default:
      return "see the API's documentation";
  }
}

websocket::MaskKey fresh_mask(Rng& rng) {
  const std::uint64_t bits = rng.next();
  websocket::MaskKey key;
  std::memcpy(key.data(), &bits, key.size());
  return key;
}

class Client {
 public:
  Client(Context& context, net::Loop& loop, net::Resolver& resolver)
      : context_(context), loop_(loop), resolver_(resolver) {}

  Task<absl::Status> talk(Url url, net::ConnectTarget target, http::Headers headers);

 private:
  Task<absl::Status> shake_hands(const Url& url, const http::Headers& headers);
  absl::Status refused(const http::ResponseHead& head);
  Task<absl::Status> receive();
  bool show(const websocket::Message& message, std::string& answer);
  void read_input();
  void send_line(std::string line);

  Context& context_;
  net::Loop& loop_;
  net::Resolver& resolver_;
  std::unique_ptr<net::AsyncSide> side_;
  websocket::MessageReader reader_{websocket::From::kServer};
  std::string outbox_;
  bool input_ended_ = false;
  bool close_sent_ = false;
};

Task<absl::Status> Client::shake_hands(const Url& url, const http::Headers& headers) {
  const Mono deadline = loop_.clock().now() + seconds(20);
  const std::string key = websocket::make_key();
  http::RequestHead head;
  head.target = url.target;
  head.headers = headers;
  head.headers.set("Host", url.authority());
  const auto subprotocols = websocket::parse_subprotocols(head.headers);
  websocket::set_upgrade(head, key, subprotocols.value_or(std::vector<std::string>()), {});
  const std::string request = http::serialize(head);
  SLUICE_CO_RETURN_IF_ERROR(co_await side_->write_all(request, deadline));
  http::ResponseParse answer;
  while (true) {
    answer = http::parse_response_head(side_->unread(), limits::kResponseHeadBytesMax);
    if (answer.state != http::ParseState::kNeedMore) {
      break;
    }
    SLUICE_CO_RETURN_IF_ERROR(co_await side_->read_more(limits::kReadBufferBytes * 2, deadline));
  }
  if (answer.state == http::ParseState::kError) {
    co_return unavailable("the answer is not HTTP: " + answer.error.text);
  }
  side_->consume(answer.consumed);
  if (answer.head.status != 101) {
    // The reason stands in the body, which comes with the head or right behind it.
    while ((co_await side_->read_more(limits::kReadBufferBytes, loop_.clock().now() + seconds(1)))
               .ok()) {
    }
    co_return refused(answer.head);
  }
  const auto agreed = websocket::check_upgrade_response(
      answer.head, key, subprotocols.value_or(std::vector<std::string>()), {});
  SLUICE_CO_RETURN_IF_ERROR(agreed.status());
  std::fprintf(stderr, "connected to %s%s%s (connection %s)\n", url.authority().c_str(),
               agreed->subprotocol.empty() ? "" : ", sub-protocol ", agreed->subprotocol.c_str(),
               std::string(answer.head.headers.get("X-Request-Id")).c_str());
  co_return absl::OkStatus();
}

absl::Status Client::refused(const http::ResponseHead& head) {
  std::string text = fmt::format("refused: {} {}", head.status, http::reason_phrase(head.status));
  boost::system::error_code error;
  const boost::json::value body = boost::json::parse(side_->unread(), error);
  if (!error && body.is_object()) {
    text += fmt::format("\n  code {}: {}\n  {}", text_at(body, "code"), text_at(body, "message"),
                        text_at(body, "description"));
  }
  if (const std::string_view id = head.headers.get("X-Request-Id"); !id.empty()) {
    text += fmt::format("\n  more: `sluicectl connections list --refused --id {}`", id);
  }
  const std::string_view retry = head.headers.get("Retry-After");
  if (!retry.empty()) {
    text += fmt::format("\n  try again after {} s", retry);
  }
  return failed_precondition(text);
}

bool Client::show(const websocket::Message& message, std::string& answer) {
  using websocket::Opcode;
  switch (message.opcode) {
    case Opcode::kText:
      context_.print(message.payload + "\n");
      return true;
    case Opcode::kBinary:
      context_.print(fmt::format("[{} bytes] {}\n", message.payload.size(), hex(message.payload)));
      return true;
    case Opcode::kPing:
      std::fprintf(stderr, "< ping, answered\n");
      answer += make_frame(Opcode::kPong, message.payload, true, fresh_mask(loop_.rng()));
      return true;
    case Opcode::kPong:
      std::fprintf(stderr, "< pong\n");
      return true;
    case Opcode::kContinuation:
    case Opcode::kClose:
      break;
  }
  const auto close = websocket::parse_close(message.payload);
  const std::uint16_t code = close ? close->code : 1005;
  const std::string reason = close ? std::string(close->reason) : "";
  std::fprintf(stderr, "closed: %u (%s)%s%s\n", code, std::string(meaning(code)).c_str(),
               reason.empty() ? "" : ": ", reason.c_str());
  if (!close_sent_) {
    answer += websocket::make_close(code == 1005 ? 0 : code, "", fresh_mask(loop_.rng()));
  }
  return false;
}

// Reads stdin on a thread of its own, which may be left waiting in read() at the end.
void Client::read_input() {
  std::thread([this] {
    std::string line;
    while (std::getline(std::cin, line)) {
      loop_.post([this, line] { send_line(line); });
    }
    loop_.post([this] { input_ended_ = true; });
  }).detach();
}

void Client::send_line(std::string line) {
  outbox_ += make_frame(websocket::Opcode::kText, line, true, fresh_mask(loop_.rng()));
}

Task<absl::Status> Client::receive() {
  Mono quiet_since = loop_.clock().now();
  while (true) {
    if (!outbox_.empty()) {
      const std::string out = std::exchange(outbox_, {});
      SLUICE_CO_RETURN_IF_ERROR(co_await side_->write_all(out, loop_.clock().now() + seconds(30)));
      quiet_since = loop_.clock().now();
    }
    if (input_ended_ && !close_sent_ && loop_.clock().now() > quiet_since + kPipedPause) {
      close_sent_ = true;
      const std::string close = websocket::make_close(1000, "", fresh_mask(loop_.rng()));
      SLUICE_CO_RETURN_IF_ERROR(co_await side_->write_all(close, loop_.clock().now() + seconds(5)));
    }
    const absl::Status status = co_await side_->read_more(limits::kReadBufferBytes * 2,
                                                          loop_.clock().now() + milliseconds(50));
    if (status.code() == absl::StatusCode::kDeadlineExceeded) {
      continue;
    }
    if (!status.ok()) {
      co_return unavailable("the connection ended without a close frame");
    }
    quiet_since = loop_.clock().now();
    std::vector<websocket::Message> messages;
    const std::string bytes(side_->unread());
    side_->consume(bytes.size());
    const bool good = reader_.read(as_bytes(bytes), messages);
    for (const websocket::Message& message : messages) {
      if (!show(message, outbox_)) {
        const std::string out = std::exchange(outbox_, {});
        (void)co_await side_->write_all(out, loop_.clock().now() + seconds(1));
        co_return absl::OkStatus();
      }
    }
    if (!good) {
      co_return unavailable(fmt::format("protocol error of the server: {}", reader_.fault()));
    }
  }
}

Task<absl::Status> Client::talk(Url url, net::ConnectTarget target, http::Headers headers) {
  auto connected =
      co_await net::connect(loop_, resolver_, std::move(target), loop_.clock().now() + seconds(10));
  if (!connected.ok()) {
    co_return absl::Status(
        connected.status().code(),
        to_absl(fmt::format("{}; is sluice-proxy running and listening there? its log says "
                            "`listening NAME ADDR:PORT`",
                            message_of(connected.status()))));
  }
  side_ = std::make_unique<net::AsyncSide>(loop_, *std::move(connected));
  SLUICE_CO_RETURN_IF_ERROR(co_await shake_hands(url, headers));
  read_input();
  co_return co_await receive();
}

absl::Status ws(Context& context, const WsFlags& flags) {
  SLUICE_ASSIGN_OR_RETURN(const Url url, parse_url(flags.url));
  SLUICE_ASSIGN_OR_RETURN(const std::string token, read_secret(flags.token));
  http::Headers headers;
  if (!token.empty()) {
    headers.add("Authorization", "Bearer " + token);
  }
  for (const std::string& header : flags.headers) {
    const std::size_t colon = header.find(':');
    if (colon == std::string::npos || !http::is_token(header.substr(0, colon))) {
      return invalid_argument(fmt::format("-H {}: must be `Name: value`", header));
    }
    headers.add(header.substr(0, colon), http::trim(std::string_view(header).substr(colon + 1)));
  }
  net::ConnectTarget target;
  target.host = url.host;
  target.port = url.port;
  if (url.tls) {
    std::string ca_pem;
    if (!flags.ca.empty()) {
      SLUICE_ASSIGN_OR_RETURN(ca_pem, read_file(flags.ca));
    } else {
      SLUICE_ASSIGN_OR_RETURN(const Session session, load_session(context.server));
      ca_pem = session.ca_pem;
    }
    SLUICE_ASSIGN_OR_RETURN(target.tls, net::TlsClientContext::create(ca_pem));
  }
  // Never destroyed: the thread that waits for input may outlive the conversation.
  auto* loop = new net::Loop(system_seed());
  auto* resolver = new net::Resolver();
  auto* client = new Client(context, *loop, *resolver);
  return run(*loop, client->talk(url, std::move(target), std::move(headers)));
}

}  // namespace

void add_ws(CLI::App& app, Context& context) {
  auto flags = std::make_shared<WsFlags>();
  CLI::App* command = app.add_subcommand("ws", "Talk to a WebSocket: a line is a message");
  command->add_option("URL", flags->url, "ws:// or wss://")->required();
  command->add_option("--token", flags->token, "access token: itself, `-` (stdin) or `@FILE`");
  command->add_option("-H", flags->headers, "a header, `Name: value`; may be repeated");
  command->add_option("--ca", flags->ca, "CA of a wss:// server; default: the session's");
  on_run(command, context, [&context, flags] { return ws(context, *flags); });
}

}  // namespace sluice::controlplane::cli
