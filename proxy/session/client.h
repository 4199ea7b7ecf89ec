// A client's connection, and what its exchanges have in common: heads, routes, open hooks.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "proxy/config/snapshot.h"
#include "proxy/filter/refusal.h"
#include "proxy/net/async_side.h"
#include "proxy/session/connection.h"
#include "proxy/session/context.h"

namespace sluice::session {

struct Refused {
  filter::Refusal refusal;
  std::string text;
  int retry_after_s = 0;
  std::string detail = {};  // for the log and the records alone
};

// Why a backend could not be asked, from the status of Call::dial() or of what came after (`what`).
Refused refusal_of_backend(const absl::Status& status, std::string_view what);

// Lives in serve()'s frame.
class Client {
 public:
  // `deadline`: of the first head.
  Client(SessionContext& context, std::unique_ptr<net::Side> side,
         std::shared_ptr<const config::CompiledListener> listener, Mono deadline)
      : context_(context),
        listener_(std::move(listener)),
        deadline_(deadline),
        tls_(listener_->tls != nullptr),
        io_(*context.loop, std::move(side)) {}
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  SessionContext& context() { return context_; }
  net::AsyncSide& io() { return io_; }
  const config::CompiledListener& listener() const { return *listener_; }

  // The next request head. A refusal, or none to go on; if nobody is left to be answered, gone().
  Task<std::optional<Refused>> read_head(http::RequestHead& head);
  bool gone() const { return gone_; }

  // Fills in what is known of the client, and pins the API at the request's path.
  std::optional<Refused> route(Connection& connection);
  // Runs the open hooks.
  Task<std::optional<Refused>> open(Connection& connection);
  // The backends for the key's type.
  std::optional<Refused> choose_cluster(Connection& connection,
                                        std::shared_ptr<const upstream::Cluster>& cluster) const;
  // Says in the exchange's ending why it was refused, and counts it.
  void note_refusal(Connection& connection, const Refused& refused);

  // Ends our direction and reads until the client has ended its own, so that what it still sends
  // does not turn our last bytes into a reset.
  Task<void> linger(nanoseconds time, std::size_t bytes_max);

  // A request to an HTTP API came: it is one of the clients that may send more.
  void begin_request();
  // It was answered, and another may follow.
  void expect_more();
  // The client is to get a last response: the worker drains, or the listener is gone.
  bool last_request() const;
  // Ends the connection if it waits for another request.
  void close_if_idle();

  std::size_t registry_index = 0;

 private:
  SessionContext& context_;
  std::shared_ptr<const config::CompiledListener> listener_;
  Mono deadline_;
  const bool tls_;
  net::AsyncSide io_;
  bool registered_ = false;  // among the clients that send more than one request
  bool idle_ = false;
  bool gone_ = false;
};

}  // namespace sluice::session
