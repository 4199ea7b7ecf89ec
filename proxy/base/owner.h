// Says which thread owns a mutable object; debug builds assert it.
#pragma once

#include <thread>

#include "proxy/base/check.h"

namespace sluice {

// Bound to the thread that first calls check(), so that an object can be built on one thread and
// used on another.
class ThreadOwner {
 public:
  void check() {
#ifndef NDEBUG
    if (id_ == std::thread::id()) {
      id_ = std::this_thread::get_id();
    }
    SLUICE_CHECK(id_ == std::this_thread::get_id());
#endif
  }
  // The next check() binds anew.
  void release() {
#ifndef NDEBUG
    id_ = {};
#endif
  }

 private:
#ifndef NDEBUG
  std::thread::id id_;
#endif
};

}  // namespace sluice
