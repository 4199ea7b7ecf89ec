// A Side for coroutines: handshakes, heads and bodies. Holds what was read too far, so that a relay
// can take over exactly where a head ended.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/wait.h"
#include "proxy/net/loop.h"
#include "proxy/net/side.h"

namespace sluice::net {

// One coroutine at a time reads or writes. Every wait ends with OK, CANCELLED, DEADLINE_EXCEEDED
// (at `deadline`), or the stream's error (UNAVAILABLE). Loop thread only. No memory is held while
// it waits with nothing unread.
class AsyncSide final : public SideUser {
 public:
  // `unread`: what was read of the side before.
  AsyncSide(Loop& loop, std::unique_ptr<Side> side, std::string unread = "");
  ~AsyncSide() override;

  // Waits until there are more unread bytes than before. OUT_OF_RANGE: the peer ended its
  // direction. RESOURCE_EXHAUSTED: `bytes_max` or more are unread already; one wait may bring
  // limits::kReadBufferBytes beyond it.
  Task<absl::Status> read_more(std::size_t bytes_max, Mono deadline);

  // What was read and not consumed; valid until the next call to read_more or consume.
  std::string_view unread() const { return std::string_view(buffer_).substr(consumed_); }
  void consume(std::size_t bytes);

  // Until all of `bytes` is taken by the side. `bytes` must live until then.
  Task<absl::Status> write_all(std::string_view bytes, Mono deadline);

  // Until the peer ends (OUT_OF_RANGE) or breaks the stream; what it sends meanwhile is kept up to
  // `bytes_max`, then left in the kernel, and the end behind it goes unnoticed. For noticing that a
  // client left while a backend is dialled.
  Task<absl::Status> wait_end(std::size_t bytes_max);

  Side& side() { return *side_; }

  // Gives the side away, paused and without a user; `rest` gets the unread bytes.
  std::unique_ptr<Side> release(std::string& rest);

  void on_bytes(Side& side, MutableBytes bytes) override;
  void on_end(Side& side) override;
  void on_error(Side& side, absl::Status status) override;
  void on_writable(Side& side) override;

 private:
  Task<absl::Status> wait_until(Mono deadline);
  void wake();

  Loop& loop_;
  std::unique_ptr<Side> side_;
  std::string buffer_;
  std::size_t consumed_ = 0;
  std::size_t unread_max_ = 0;  // pause when so many are unread
  bool ended_ = false;
  bool writable_ = true;
  absl::Status error_;
  Wait wait_;
  Timer timer_;
};

}  // namespace sluice::net
