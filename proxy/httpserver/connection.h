// One connection of the server: requests one after another.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "proxy/http/body.h"
#include "proxy/http/parse.h"
#include "proxy/httpserver/http_server.h"
#include "proxy/net/async_side.h"

namespace sluice::httpserver {

// Lives in the coroutine that runs it.
class Connection {
 public:
  Connection(net::Loop& loop, const ServerOptions& options, const Handler& handler,
             std::unique_ptr<net::Side> side);

  // Until either end has had enough.
  Task<void> run();

 private:
  // What reading a request came to: a request, a refusal to send before closing, or neither (close
  // without a word).
  struct Outcome {
    std::optional<Request> request;
    std::optional<Response> refusal;
    bool head_only = false;
    bool close = false;  // after the response
  };

  Task<Outcome> read_request();
  Task<absl::Status> read_head(http::RequestHead& head, std::optional<Response>& refused);
  Task<absl::Status> read_body(const http::RequestHead& head, std::string& body,
                               std::optional<Response>& refused);
  Task<absl::Status> answer(Response response, bool head_only, bool close);
  Task<void> linger();

  net::Loop& loop_;
  const ServerOptions& options_;
  const Handler& handler_;
  net::AsyncSide io_;
  Mono deadline_;  // of the present request
};

}  // namespace sluice::httpserver
