// The kernel's pipe through which a loop splices from one socket to another.
#pragma once

#include <cstddef>

namespace sluice::net {

// Made at its first use. One thread.
class SplicePipe {
 public:
  SplicePipe() = default;
  ~SplicePipe();
  SplicePipe(const SplicePipe&) = delete;
  SplicePipe& operator=(const SplicePipe&) = delete;

  // False: there is none to be had (errno stands).
  bool open();

  int in() const { return in_; }
  int out() const { return out_; }

 private:
  int in_ = -1;
  int out_ = -1;
};

}  // namespace sluice::net
