#include "proxy/httpserver/http_server.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "proxy/httpserver/connection.h"

namespace sluice::httpserver {
namespace {

Response typed(int status, std::string body, std::string_view type) {
  Response response;
  response.status = status;
  response.headers.add("Content-Type", type);
  response.body = std::move(body);
  return response;
}

}  // namespace

Response text_response(int status, std::string body) {
  return typed(status, std::move(body), "text/plain; charset=utf-8");
}

Response json_response(int status, std::string body) {
  return typed(status, std::move(body), "application/json");
}

Response refusal(int status, int code, std::string_view description) {
  const std::string_view message = http::reason_phrase(status);
  boost::json::object body;
  body["code"] = code;
  body["message"] = boost::json::string_view(message.data(), message.size());
  body["description"] = boost::json::string_view(description.data(), description.size());
  return json_response(status, boost::json::serialize(body));
}

HttpServer::HttpServer(net::Loop& loop, ServerOptions options, Handler handler)
    : loop_(loop),
      options_(std::move(options)),
      handler_(std::move(handler)),
      group_(loop.executor()) {}

HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::start(net::Loop& loop,
                                                              ServerOptions options,
                                                              Handler handler) {
  std::unique_ptr<HttpServer> server(new HttpServer(loop, std::move(options), std::move(handler)));
  // Others who listen there would get a share of the connections with SO_REUSEPORT; without it, two
  // programs cannot have one port.
  net::ListenOptions listen;
  listen.address = server->options_.address;
  listen.port = server->options_.port;
  SLUICE_ASSIGN_OR_RETURN(
      server->acceptor_,
      net::Acceptor::listen(loop, listen, [raw = server.get()](std::unique_ptr<net::Side> side) {
        raw->accept(std::move(side));
      }));
  return server;
}

Task<void> HttpServer::stop() {
  if (acceptor_ != nullptr) {
    refused_ += acceptor_->refused_no_descriptors();
    port_ = acceptor_->port();
    acceptor_.reset();
  }
  group_.cancel();
  co_await group_.join();
}

std::uint16_t HttpServer::port() const { return acceptor_ == nullptr ? port_ : acceptor_->port(); }

std::uint64_t HttpServer::refused() const {
  return refused_ + (acceptor_ == nullptr ? 0 : acceptor_->refused_no_descriptors());
}

void HttpServer::set_tls(std::shared_ptr<const net::TlsServerContext> tls) {
  if (options_.tls != nullptr && tls != nullptr) {
    options_.tls = std::move(tls);
  }
}

void HttpServer::accept(std::unique_ptr<net::Side> side) {
  if (group_.size() >= options_.connections_max) {
    ++refused_;
    return;
  }
  group_.spawn(serve(std::move(side)));
}

Task<void> HttpServer::serve(std::unique_ptr<net::Side> side) {
  if (options_.tls != nullptr) {
    const Mono deadline = loop_.clock().now() + options_.request_timeout;
    auto secured = co_await net::tls_accept(loop_, std::move(side), options_.tls, deadline);
    if (!secured.ok()) {
      co_return;
    }
    side = *std::move(secured);
  }
  Connection connection(loop_, options_, handler_, std::move(side));
  co_await connection.run();
}

}  // namespace sluice::httpserver
