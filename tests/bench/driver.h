// The load generator's loop: opens connections, brings events to them, time and signals to the
// mode.
#pragma once

#include <memory>
#include <vector>

#include "proxy/base/status.h"
#include "tests/bench/connection.h"
#include "tests/bench/options.h"
#include "tests/bench/pattern.h"
#include "tests/bench/transport.h"

namespace sluice::bench {

// What a mode of the load generator does with the connections.
class Driven : public ConnectionEvents {
 public:
  // A connection has ended, opened or not; ending() says how. It may be replaced by Driver::open().
  virtual void on_ended(Connection& connection) = 0;
  // wake() has come, or an event.
  virtual void on_time(Mono now) = 0;
  virtual Mono wake() const = 0;
  // Standard input has ended, or TERM or INT came.
  virtual void on_stop() = 0;
  virtual bool done() const = 0;
};

class Driver {
 public:
  explicit Driver(const Options& options);

  // Loads certificates.
  absl::Status prepare();

  // Until the mode is done. `stdin_stops`: the end of standard input calls on_stop().
  void run(Driven& mode, bool stdin_stops);

  // Opens a connection in the place `id`, in place of the ended one. Once run() has begun.
  void open(std::uint32_t id);

  // Opens none of the places that have not been tried yet.
  void stop_opening() { opened_ = static_cast<std::uint32_t>(connections_.size()); }

  const Options& options() const { return options_; }
  // Connections begun and not ended.
  std::uint32_t active() const { return active_; }
  std::size_t size() const { return connections_.size(); }
  // Null where none has been opened yet.
  Connection* at(std::size_t id) { return connections_[id].get(); }
  Mono now() const { return now_; }

 private:
  void watch_stdin(Driven& mode);
  void turn(Driven& mode);
  void handle(Connection& connection, std::uint32_t events, Driven& mode);
  void open_more();
  void report_failed(Driven& mode);
  void take_signals(Driven& mode);
  void look_at_clock();
  std::string request_headers(std::uint32_t id) const;

  const Options& options_;
  Pattern pattern_;
  TlsContext tls_{nullptr, SSL_CTX_free};
  Fd epoll_;
  std::vector<std::uint8_t> buffer_;
  std::unique_ptr<Shared> shared_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::uint32_t> failed_;  // could not even begin
  std::uint32_t opened_ = 0;           // places tried so far
  std::uint32_t opening_ = 0;          // connections neither open nor ended
  std::uint32_t active_ = 0;
  Mono now_;
};

}  // namespace sluice::bench
