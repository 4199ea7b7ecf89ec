// The first promise that was broken, and what happened before it.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "tests/simulation/schedule.h"

namespace sluice::simulation {

class Report {
 public:
  // `trace` null: nothing is written down.
  Report(const Schedule& schedule, std::string* trace)
      : schedule_(schedule), begin_(schedule.now()), trace_(trace) {}

  // The first one counts; the run ends soon after it.
  void broken(std::string_view promise, std::string_view what) {
    if (violation_.empty()) {
      violation_ = fmt::format("{:.3f} s: {}: {}", at(), promise, what);
      trace("BROKEN {}", violation_);
    }
  }
  bool failed() const { return !violation_.empty(); }
  const std::string& violation() const { return violation_; }

  template <class... Args>
  void trace(fmt::format_string<Args...> format, Args&&... args) {
    if (trace_ != nullptr) {
      *trace_ += fmt::format("{:9.3f} {}\n", at(),
                             fmt::format(format, std::forward<Args>(args)...));
    }
  }

 private:
  double at() const {
    return std::chrono::duration<double>(schedule_.now() - begin_).count();
  }

  const Schedule& schedule_;
  Mono begin_;
  std::string* trace_;
  std::string violation_;
};

}  // namespace sluice::simulation
