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

// Loop thread only; owned by its Relay. The members that a message touches come first.
class Lane final : public net::SideUser {
 public:
  Lane(Relay& relay, filter::Direction direction, websocket::MessageTracker tracker);
  ~Lane() override;

  // `from` is read, `to` is written. Both outlive the lane.
  void attach(net::Side& from, net::Side& to, Lane& other);
  // Scans what was read before the relay began, then starts reading.
  void start(std::string rest);

  void on_bytes(net::Side& side, MutableBytes bytes) override;
  void on_end(net::Side& side) override;
  void on_error(net::Side& side, absl::Status status) override;
  void on_writable(net::Side& side) override;

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
    std::vector<std::uint8_t> partial;  // a frame head, or control frame, not complete yet
    std::vector<std::uint8_t> held;     // not scanned: a filter said hold
    std::vector<std::uint8_t> out;      // scanned, not taken by `to` yet
    std::string control;                // frames to put in at the next frame boundary
    std::string message;                // at the next message boundary
    std::string close;                  // at the next frame boundary, and then nothing more
    bool waiting() const { return !control.empty() || !message.empty() || !close.empty(); }
  };
  enum class Step : std::uint8_t { kGoOn, kStop };

  Backlog& backlog();
  void drop_empty_backlog();
  void scan(MutableBytes bytes);
  void scan_joined(MutableBytes bytes);
  Step scan_head(std::uint8_t*& p, std::uint8_t* end, Run& run);
  Step control_frame(const websocket::FrameHead& head, const std::uint8_t* payload);
  Step data_frame(const websocket::FrameHead& head, const websocket::FrameStep& step);
  Step apply(const filter::Verdict& verdict);
  void keep_partial(const std::uint8_t* p, const std::uint8_t* end);
  void insert_waiting(Run* run);
  void flush(Run& run);
  void emit(ByteView bytes);
  void write_backlog();
  void hold_until(Mono until);
  void release_hold();
  void count_scanned();
  void resume_if_free();

  Relay& relay_;
  net::Side* from_ = nullptr;
  net::Side* to_ = nullptr;
  Lane* other_ = nullptr;
  std::unique_ptr<Backlog> backlog_;
  std::uint64_t frame_left_ = 0;  // payload bytes of the frame under way that are still to come
  std::uint32_t messages_ = 0;    // passed in this scan
  std::uint64_t bytes_ = 0;
  websocket::MessageTracker tracker_;
  filter::Direction direction_;
  bool data_frame_ = false;    // the frame under way is data
  bool skip_ = false;          // the frame under way is not passed on
  bool drop_message_ = false;  // the message under way is not passed on
  bool muted_ = false;         // our close frame went out: nothing more is passed on
  bool close_seen_ = false;
  bool ended_ = false;
  bool broken_ = false;
  bool blocked_ = false;
  bool held_ = false;
  bool heard_ = false;
  bool scanning_ = false;
  bool output_dead_ = false;
  std::uint16_t control_frames_ = 0;  // in the second below
  std::int64_t control_second_ = 0;
  Timer hold_timer_;
};

}  // namespace sluice::session
