#include "proxy/net/splice_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include "proxy/base/limits.h"

namespace sluice::net {

SplicePipe::~SplicePipe() {
  if (in_ >= 0) {
    ::close(in_);
    ::close(out_);
  }
}

bool SplicePipe::open() {
  if (in_ >= 0) {
    return true;
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    return false;
  }
  out_ = ends[0];
  in_ = ends[1];
  // A smaller one, where the user may have no more pipe memory, only takes more calls.
  (void)::fcntl(in_, F_SETPIPE_SZ, static_cast<int>(limits::kReadBytesPerTurnMax));
  return true;
}

}  // namespace sluice::net
