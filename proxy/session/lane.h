// One direction of a live WebSocket: reads bytes of one side, scans frame heads in place, asks the
// filters, and writes the same bytes to the other side.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/timer_wheel.h"
#include "proxy/filter/exchange.h"
#include "proxy/filter/verdict.h"
#include "proxy/net/side.h"
#include "proxy/websocket/frame.h"
#include "proxy/websocket/tracker.h"

namespace sluice::session {

class Relay;

// Loop thread only; part of its Relay. One cache line, since every message touches it: what few
// connections need lies in the Backlog or the Relay.
class alignas(64) Lane final : public net::SideUser {
 public:
  Lane(Relay& relay, filter::Direction direction, websocket::MessageTracker tracker)
      : relay_(relay), tracker_(tracker), direction_(direction) {}
  ~Lane() override;

  // The side that is written; it outlives the lane.
  void attach(net::Side& to) { to_ = &to; }
  // Scans what was read before the relay began, then starts reading.
  void start(std::string rest);

  void on_bytes(net::Side& side, MutableBytes bytes) override;
  void on_end(net::Side& side) override;
  void on_error(net::Side& side, absl::Status status) override;
  void on_writable(net::Side& side) override;
  void on_spliced(net::Side& side, std::size_t moved, MutableBytes rest) override;

  // Puts a whole frame in at the next frame boundary (message boundary for data). A close frame
  // ends the direction: nothing is passed on after it.
  void insert_control(std::string frame);
  void insert_message(std::string frame);
  // The first one stays if it has to wait.
  void insert_close(std::string frame);

  // Nothing more can be written to `to`: what waits is forgotten.
  void abandon_output();
  // Stops scanning for good (a protocol error): what still comes is read and thrown away.
  void give_up_input();

  // Nothing is passed any more; what still comes is thrown away.
  void stop() {
    give_up_input();
    abandon_output();
  }

  // Ends a hold early, so that the filters are asked again.
  void ask_again();

  // Neither a close frame nor the end of the stream came from `from` yet.
  bool input_open() const { return !close_seen_ && !ended_ && !broken_; }
  bool close_seen() const { return close_seen_; }
  // All that was passed on was taken by the kernel.
  bool output_flushed() const { return backlog_ == nullptr || backlog_->out.empty(); }
  // Reading is stopped by us (back-pressure or a hold).
  bool stopped() const { return blocked_ || held_; }
  bool mid_frame() const { return frame_left_ > 0 && !skip_; }
  // Whether bytes came since the last call.
  bool take_heard() {
    const bool heard = heard_;
    heard_ = false;
    return heard;
  }

 private:
  // A run of bytes to pass on, kept contiguous within the buffer that is scanned.
  struct Run {
    std::uint8_t* begin = nullptr;
    std::uint8_t* end = nullptr;
    void append(std::uint8_t* bytes, std::size_t count);
  };
  // What most connections never need: bytes that cannot be used yet.
  struct Backlog {
    explicit Backlog(Lane& lane)
        : hold([](void* self) { static_cast<Lane*>(self)->release_hold(); }, &lane) {}
    std::vector<std::uint8_t> partial;  // a frame head, or control frame, not complete yet
    std::vector<std::uint8_t> held;     // not scanned: a filter said hold
    std::vector<std::uint8_t> out;      // scanned, not taken by `to` yet
    std::string control;                // frames to put in at the next frame boundary
    std::string message;                // at the next message boundary
    std::string close;                  // at the next frame boundary, and then nothing more
    Timer hold;
    bool waiting() const { return !control.empty() || !message.empty() || !close.empty(); }
  };
  // What one scan has found so far.
  struct Scan {
    Run run;  // not written yet
    std::uint64_t bytes = 0;
    std::uint32_t messages = 0;  // passed
  };
  enum class Step : std::uint8_t { kGoOn, kStop };

  Backlog& backlog();
  void drop_empty_backlog();
  void scan(MutableBytes bytes);
  void scan_joined(MutableBytes bytes);
  Step scan_head(std::uint8_t*& p, std::uint8_t* end, Scan& scan);
  Step control_frame(const websocket::FrameHead& head, const std::uint8_t* payload);
  Step data_frame(const websocket::FrameHead& head, const websocket::FrameStep& step, Scan& scan);
  Step apply(const filter::Verdict& verdict);
  void keep_partial(const std::uint8_t* p, const std::uint8_t* end);
  void insert_waiting(Run* run);
  void flush(Run& run);
  void emit(ByteView bytes);
  void write_backlog();
  void hold_until(Mono until);
  void release_hold();
  void splice_rest_of_frame();
  void count(const Scan& scan);
  void resume_if_free();

  Relay& relay_;
  net::Side* to_ = nullptr;
  std::unique_ptr<Backlog> backlog_;
  std::uint64_t frame_left_ = 0;  // payload bytes of the frame under way that are still to come
  websocket::MessageTracker tracker_;
  filter::Direction direction_;
  bool data_frame_ : 1 = false;    // the frame under way is data
  bool skip_ : 1 = false;          // the frame under way is not passed on
  bool drop_message_ : 1 = false;  // the message under way is not passed on
  bool muted_ : 1 = false;         // our close frame went out: nothing more is passed on
  bool close_seen_ : 1 = false;
  bool ended_ : 1 = false;
  bool broken_ : 1 = false;
  bool blocked_ : 1 = false;
  bool held_ : 1 = false;
  bool heard_ : 1 = false;
  bool scanning_ : 1 = false;
  bool output_dead_ : 1 = false;
};
static_assert(sizeof(Lane) == 64);

}  // namespace sluice::session
