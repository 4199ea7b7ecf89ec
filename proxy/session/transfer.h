// One HTTP/1.1 request on its way to a backend, and the response on its way back. Plain code that
// the loop calls; the coroutine that serves the client sleeps meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/limits.h"
#include "proxy/base/timer_wheel.h"
#include "proxy/base/wait.h"
#include "proxy/filter/chain.h"
#include "proxy/filter/exchange.h"
#include "proxy/http/body_coder.h"
#include "proxy/http/parse.h"
#include "proxy/net/async_side.h"
#include "proxy/net/side.h"

namespace sluice::session {

// Loop thread only. Both bodies stream at the same time, each held back by the side that takes it;
// what arrives in one read goes on with one write.
class Transfer final : public net::SideUser {
 public:
  // How it ended.
  enum class End : std::uint8_t {
    kNone,            // not yet
    kDone,            // the whole response was taken
    kBackendGone,     // before any response
    kAgain,           // the response is thrown away: hooks.again said so
    kBackendInvalid,  // what came is no HTTP response
    kBackendSlow,     // no response in time
    kBodyMalformed,   // the request's
    kBodyTooLarge,
    kBodySlow,
    kClientGone,
    kCut,     // cut() was called
    kBroken,  // the response broke off, or the client stopped taking it
  };

  struct Parts {
    net::AsyncSide* client = nullptr;  // outlives the transfer; its side is borrowed
    std::unique_ptr<net::Side> backend;
    filter::Exchange* exchange = nullptr;
    filter::FilterInstances* filters = nullptr;
    nanoseconds response_timeout = limits::kRequestTimeout;  // from the request to its response
    bool keep_alive = false;  // the client wants to send more requests
    bool old_client = false;  // speaks HTTP/1.0
  };
  struct Hooks {
    // The response's head as the client will get it, before Connection and framing are set.
    std::function<void(http::ResponseHead&)> reply;
    // Whether another endpoint is to be asked because of a response of this status.
    std::function<bool(int status)> again;
    // Called if it takes longer than limits::kHttpLongAfter, and when exchange.recheck_at has come.
    std::function<void()> is_long;
    // Whether the client's connection is to be closed although it could go on.
    std::function<bool()> last_request;
  };

  Transfer(net::Loop& loop, Parts parts, Hooks hooks);
  ~Transfer() override;

  // Sends `head` with what is there of the body, then everything else. Call once.
  void start(std::string head);
  // Until it is over.
  Task<absl::Status> wait() { return over_.wait(); }

  // Ends it now.
  void cut(filter::CloseCause cause);

  // ---- when it is over; the client's side is paused and its AsyncSide's again
  End ending() const { return end_; }
  filter::CloseCause cut_cause() const { return cut_cause_; }
  // The client got a final head: nothing else can be answered.
  bool answered() const { return answered_; }
  // Neither was anything of the request's body taken from the client nor anything answered.
  bool replayable() const { return !answered_ && !up_taken_ && !backend_heard_; }
  bool client_reusable() const { return client_reusable_; }
  // The request's body was read to its end.
  bool request_taken() const { return up_.done(); }
  // The backend's connection if it is fit for another request, else null.
  std::unique_ptr<net::Side> take_reusable_backend();
  std::string_view fault() const { return fault_; }

  std::uint64_t bytes_up() const { return up_bytes_; }
  std::uint64_t bytes_down() const { return down_bytes_; }

  void on_bytes(net::Side& side, MutableBytes bytes) override;
  void on_end(net::Side& side) override;
  void on_error(net::Side& side, absl::Status status) override;
  void on_writable(net::Side& side) override;

 private:
  net::Side& client() { return parts_.client->side(); }
  bool is_client(const net::Side& side) const { return &side != parts_.backend.get(); }

  // Takes what belongs to the request's body, frames it anew in `scratch_` and counts it.
  std::size_t take_request_body(std::string_view bytes, std::string_view& to_write);
  void from_client(std::string_view bytes);
  void from_backend(std::string_view bytes);
  bool read_response_head(std::string_view& bytes);
  void pass_interim(http::ResponseHead head);
  void answer(http::ResponseHead head, std::string_view rest);
  void pass_response_body(std::string_view bytes, std::string head);
  bool tell_filters(filter::Direction direction, std::size_t payload, bool ends);
  void write_up(std::string_view bytes);
  void write_down(std::string_view bytes);
  void maybe_done();
  void tick();
  void arm();
  Mono due() const;
  End late() const;
  void finish(End end);

  net::Loop& loop_;
  Parts parts_;
  Hooks hooks_;
  http::BodyCoder up_;
  http::BodyCoder down_;
  std::string scratch_;
  std::string to_backend_;  // not taken yet
  std::string to_client_;
  std::string head_;  // of the response, as far as it came
  http::HeadScanner scanner_;
  std::uint64_t up_bytes_ = 0;
  std::uint64_t down_bytes_ = 0;
  Mono progress_;  // when a byte moved last
  Mono begin_;
  Timer timer_;
  Wait over_;
  std::string_view fault_;
  filter::CloseCause cut_cause_{};
  int interims_ = 0;
  End end_ = End::kNone;
  bool answered_ = false;
  bool up_taken_ = false;  // some of the request's body
  bool backend_heard_ = false;
  bool backend_keeps_ = false;
  bool client_keeps_ = false;
  bool client_reusable_ = false;
  bool long_told_ = false;
};

}  // namespace sluice::session
