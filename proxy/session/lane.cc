#include "proxy/session/lane.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "proxy/session/relay.h"
#include "proxy/websocket/close.h"

namespace sluice::session {

using filter::Direction;
using websocket::FrameHead;
using websocket::FrameParse;

void Lane::Run::append(std::uint8_t* bytes, std::size_t count) {
  if (begin == end) {
    begin = end = bytes;
  } else if (end != bytes) {
    std::memmove(end, bytes, count);  // closes the gap that something not passed on left
  }
  end += count;
}

Lane::~Lane() = default;

void Lane::start(std::string rest) {
  if (!rest.empty()) {
    scan({reinterpret_cast<std::uint8_t*>(rest.data()), rest.size()});
  }
  resume_if_free();
}

void Lane::on_bytes(net::Side& /*side*/, MutableBytes bytes) {
  heard_ = true;
  // What the message will need, fetched together and not one behind the other.
  __builtin_prefetch(to_);
  relay_.prefetch();
  if (!input_open()) {
    return;
  }
  if (backlog_ != nullptr && !backlog_->partial.empty()) {
    scan_joined(bytes);
  } else {
    scan(bytes);
  }
}

// What was kept of an incomplete head goes in front of the new bytes: into the headroom if it fits.
void Lane::scan_joined(MutableBytes bytes) {
  std::vector<std::uint8_t> partial = std::move(backlog_->partial);
  backlog_->partial.clear();
  drop_empty_backlog();
  if (partial.size() <= net::Side::kHeadroom) {
    std::uint8_t* begin = bytes.data() - partial.size();
    std::memcpy(begin, partial.data(), partial.size());
    scan({begin, partial.size() + bytes.size()});
    return;
  }
  partial.insert(partial.end(), bytes.begin(), bytes.end());
  scan(partial);
}

void Lane::on_end(net::Side& /*side*/) {
  if (!ended_) {
    ended_ = true;
    relay_.peer_gone(*this, false);
  }
}

void Lane::on_error(net::Side& /*side*/, absl::Status /*status*/) {
  ended_ = true;
  relay_.peer_gone(*this, true);
}

// The side that this lane reads is the one that the other lane writes.
void Lane::on_writable(net::Side& /*side*/) { relay_.other(*this).write_backlog(); }

// The rest of a large frame needs no look: where both sides are plain sockets the kernel moves it
// without copying.
void Lane::splice_rest_of_frame() {
  if (frame_left_ >= limits::kSpliceBytesMin && !skip_ && !output_dead_ && input_open()) {
    relay_.input(*this).splice(*to_, frame_left_);
  }
}

void Lane::on_spliced(net::Side& /*side*/, std::size_t moved, MutableBytes rest) {
  heard_ = true;
  Scan scan;
  scan.bytes = moved + rest.size();
  frame_left_ -= scan.bytes;
  if (!rest.empty()) {
    emit(rest);
  }
  count(scan);
  if (frame_left_ == 0) {
    insert_waiting(nullptr);
  }
}

void Lane::insert_control(std::string frame) {
  if (muted_ || output_dead_) {
    return;
  }
  backlog().control += frame;
  insert_waiting(nullptr);
}

void Lane::insert_message(std::string frame) {
  if (muted_ || output_dead_) {
    return;
  }
  backlog().message = std::move(frame);
  insert_waiting(nullptr);
}

void Lane::insert_close(std::string frame) {
  if (muted_ || output_dead_ || close_seen_) {
    return;  // close_seen_: the peer's own close frame was passed on already
  }
  if (ended_ && mid_frame()) {
    muted_ = true;  // the frame under way can never be completed
    return;
  }
  if (backlog().close.empty()) {
    backlog().close = std::move(frame);
  }
  insert_waiting(nullptr);
  ask_again();  // what was held is not passed any more, but a close frame may lie behind it
  resume_if_free();
}

void Lane::abandon_output() {
  output_dead_ = true;
  relay_.input(*this).splice(*to_, 0);
  blocked_ = false;
  if (backlog_ != nullptr) {
    backlog_->out.clear();
    backlog_->control.clear();
    backlog_->message.clear();
    backlog_->close.clear();
  }
  ask_again();
  resume_if_free();
}

void Lane::give_up_input() {
  broken_ = true;
  relay_.input(*this).splice(*to_, 0);
  if (backlog_ != nullptr) {
    backlog_->held.clear();
    backlog_->partial.clear();
    backlog_->hold.cancel();
  }
  held_ = false;
  drop_empty_backlog();
  resume_if_free();
}

Lane::Backlog& Lane::backlog() {
  if (backlog_ == nullptr) {
    backlog_ = std::make_unique<Backlog>(*this);
  }
  return *backlog_;
}

void Lane::drop_empty_backlog() {
  if (backlog_ != nullptr && !scanning_ && !held_ && backlog_->partial.empty() &&
      backlog_->held.empty() && backlog_->out.empty() && !backlog_->waiting()) {
    backlog_.reset();
  }
}

void Lane::scan(MutableBytes bytes) {
  scanning_ = true;
  std::uint8_t* p = bytes.data();
  std::uint8_t* const end = p + bytes.size();
  Scan scan;
  while (p < end) {
    if (frame_left_ == 0) {
      if (backlog_ != nullptr && backlog_->waiting()) {
        insert_waiting(&scan.run);
      }
      if (scan_head(p, end, scan) == Step::kStop) {
        break;
      }
      continue;
    }
    const auto count = std::min<std::uint64_t>(frame_left_, static_cast<std::uint64_t>(end - p));
    if (!skip_) {
      scan.run.append(p, count);
      scan.bytes += data_frame_ ? count : 0;
    }
    p += count;
    frame_left_ -= count;
  }
  if (frame_left_ == 0 && backlog_ != nullptr && backlog_->waiting()) {
    insert_waiting(&scan.run);
  }
  flush(scan.run);
  scanning_ = false;
  splice_rest_of_frame();
  count(scan);
  drop_empty_backlog();
  if (close_seen_ || broken_) {
    relay_.maybe_finish();
  }
}

Lane::Step Lane::scan_head(std::uint8_t*& p, std::uint8_t* end, Scan& scan) {
  FrameHead head;
  const FrameParse parsed = parse_frame_head({p, end}, head);
  if (parsed == FrameParse::kNeedMore) {
    keep_partial(p, end);
    return Step::kStop;
  }
  const websocket::MessageTracker before = tracker_;
  websocket::FrameStep step;
  if (parsed == FrameParse::kError || tracker_.step(head, step) != websocket::FrameFault::kNone)
      [[unlikely]] {
    broken_ = true;
    relay_.close(filter::CloseCause::kProtocolError);
    return Step::kStop;
  }
  Step go_on;
  if (step.control) {
    if (static_cast<std::uint64_t>(end - p) < head.head_bytes + head.payload_bytes) {
      tracker_ = before;
      keep_partial(p, end);
      return Step::kStop;
    }
    go_on = control_frame(head, p + head.head_bytes);
  } else {
    go_on = data_frame(head, step, scan);
    if (held_) {  // asked again, from this head on, when the hold ends
      tracker_ = before;
      backlog().held.assign(p, end);
      return Step::kStop;
    }
  }
  if (go_on == Step::kStop && !close_seen_) {
    return Step::kStop;
  }
  if (muted_) {
    skip_ = true;
  }
  const std::size_t head_bytes = head.head_bytes;
  if (!skip_) {
    scan.run.append(p, head_bytes + (close_seen_ ? head.payload_bytes : 0));
  }
  p += head_bytes;
  frame_left_ = close_seen_ ? 0 : head.payload_bytes;
  return go_on;
}

// Decides about a whole control frame; `payload` is masked as it came.
Lane::Step Lane::control_frame(const FrameHead& head, const std::uint8_t* payload) {
  skip_ = false;
  data_frame_ = false;
  if (relay_.control_flood(direction_) && !relay_.closing()) {
    relay_.close(filter::CloseCause::kControlFlood);
    skip_ = true;
    return Step::kGoOn;
  }
  if (head.opcode == websocket::Opcode::kPing) {
    return Step::kGoOn;
  }
  std::string text(reinterpret_cast<const char*>(payload), head.payload_bytes);
  if (head.masked) {
    websocket::apply_mask({reinterpret_cast<std::uint8_t*>(text.data()), text.size()}, head.mask);
  }
  if (head.opcode == websocket::Opcode::kPong) {
    skip_ = text == relay_.ping_payload();  // the answer to our own ping is not the peer's business
    return Step::kGoOn;
  }
  const auto close = websocket::parse_close(text);
  if (!close) {
    broken_ = true;
    relay_.close(filter::CloseCause::kProtocolError);
    return Step::kStop;
  }
  close_seen_ = true;
  relay_.peer_closes(*this, close->code, close->reason);
  return Step::kStop;
}

Lane::Step Lane::data_frame(const FrameHead& head, const websocket::FrameStep& step, Scan& scan) {
  data_frame_ = true;
  if (muted_ || output_dead_) {  // it reaches nobody, so it is not charged either
    skip_ = true;
    return Step::kGoOn;
  }
  if (step.message_bytes > relay_.message_bytes_max()) [[unlikely]] {
    broken_ = true;
    relay_.close(filter::CloseCause::kTooLarge,
                 fmt::format("message over {} bytes", relay_.message_bytes_max()));
    return Step::kStop;
  }
  relay_.data_passed();
  if (step.begins_message) {
    drop_message_ = false;
  } else if (drop_message_) {
    skip_ = true;
    return Step::kGoOn;
  }
  skip_ = false;
  if (relay_.has_data_hooks()) {
    const filter::DataUnit unit{direction_, step.opcode, step.begins_message, step.ends_message,
                                head.payload_bytes};
    const filter::Verdict verdict = relay_.ask(unit);
    if (!verdict.passes() &&
        (step.begins_message || verdict.kind() == filter::Verdict::Kind::kClose)) {
      return apply(verdict);
    }
  }
  scan.messages += step.begins_message ? 1 : 0;
  return Step::kGoOn;
}

Lane::Step Lane::apply(const filter::Verdict& verdict) {
  using Kind = filter::Verdict::Kind;
  const filter::Verdict::Detail* detail = verdict.detail();
  switch (verdict.kind()) {
    case Kind::kDrop:
      drop_message_ = true;
      skip_ = true;
      if (detail != nullptr && !detail->text.empty()) {
        relay_.notice(detail->text);
      }
      return Step::kGoOn;
    case Kind::kHold:
      hold_until(detail->until);
      return Step::kStop;
    case Kind::kClose:
      // The message that was not passed is skipped; after the close frame nothing is passed on.
      drop_message_ = true;
      skip_ = true;
      relay_.close(detail->cause, detail->text);
      return Step::kGoOn;
    case Kind::kPass:
    case Kind::kRefuse:
      break;
  }
  return Step::kGoOn;
}

void Lane::keep_partial(const std::uint8_t* p, const std::uint8_t* end) {
  backlog().partial.assign(p, end);
}

// Puts in what waits, if the output stands at the boundary that it needs. `run` is what a scan has
// not flushed yet; outside a scan there is none.
void Lane::insert_waiting(Run* run) {
  if ((scanning_ && run == nullptr) || backlog_ == nullptr || muted_ || mid_frame()) {
    return;
  }
  if (run != nullptr) {
    flush(*run);
  }
  // Taken out first: emit may need the backlog itself.
  const std::string control = std::exchange(backlog_->control, {});
  std::string message;
  if (!tracker_.in_message() || drop_message_) {
    message = std::exchange(backlog_->message, {});
  }
  const std::string close = std::exchange(backlog_->close, {});
  for (const std::string* frame : {&control, static_cast<const std::string*>(&message), &close}) {
    if (!frame->empty()) {
      emit(as_bytes(*frame));
    }
  }
  if (!close.empty()) {
    muted_ = true;
    skip_ = true;
    relay_.maybe_finish();
  }
  drop_empty_backlog();
}

void Lane::flush(Run& run) {
  if (run.begin != run.end) {
    emit({run.begin, run.end});
    run = {};
  }
}

void Lane::emit(ByteView bytes) {
  if (output_dead_) {
    return;
  }
  std::size_t taken = 0;
  if (output_flushed()) {
    taken = to_->write(bytes);
    if (taken == bytes.size()) {
      return;
    }
  }
  std::vector<std::uint8_t>& out = backlog().out;
  out.insert(out.end(), bytes.begin() + static_cast<std::ptrdiff_t>(taken), bytes.end());
  if (!blocked_) {
    blocked_ = true;
    relay_.input(*this).pause();
  }
}

void Lane::write_backlog() {
  if (output_flushed()) {
    return;
  }
  std::vector<std::uint8_t>& out = backlog_->out;
  const std::size_t taken = to_->write(out);
  out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(taken));
  if (!out.empty()) {
    return;
  }
  out.shrink_to_fit();
  blocked_ = false;
  drop_empty_backlog();
  resume_if_free();
  relay_.maybe_finish();
}

void Lane::hold_until(Mono until) {
  held_ = true;
  relay_.input(*this).pause();
  relay_.loop().timers().arm(backlog().hold, until);
}

void Lane::release_hold() {
  held_ = false;
  backlog_->hold.cancel();
  std::vector<std::uint8_t> bytes = std::move(backlog_->held);
  backlog_->held.clear();
  if (!bytes.empty() && input_open()) {
    scan(bytes);
  }
  resume_if_free();
}

void Lane::ask_again() {
  if (held_) {
    release_hold();
  }
}

void Lane::count(const Scan& scan) {
  telemetry::Account* account = relay_.account();
  if (account == nullptr || (scan.messages == 0 && scan.bytes == 0)) {
    return;
  }
  using telemetry::Account;
  const bool up = direction_ == Direction::kUp;
  Account::add(up ? account->messages_up : account->messages_down, scan.messages);
  Account::add(up ? account->bytes_up : account->bytes_down, scan.bytes);
  account->last_data_ms.store(to_ms(relay_.loop().clock().wall()), std::memory_order_relaxed);
}

void Lane::resume_if_free() {
  if (!stopped()) {
    relay_.input(*this).resume();
  }
}

}  // namespace sluice::session
