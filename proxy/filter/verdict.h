// What a hook decides, as a value.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "proxy/base/clock.h"
#include "proxy/filter/refusal.h"

namespace sluice::filter {

class Verdict {
 public:
  enum class Kind : std::uint8_t {
    kPass,
    kRefuse,  // open: answer with a refusal
    kDrop,    // data: drop the whole message; a notice may follow
    kHold,    // data: stop reading this direction until `until`, then ask again
    kClose,   // data, recheck: close the WebSocket
  };

  // Only what the kind needs is set.
  struct Detail {
    Refusal refusal = Refusal::kMalformed;
    CloseCause cause = CloseCause::kThrottled;
    std::string text;       // refusal: description; close: reason; drop: notice (empty: none)
    int retry_after_s = 0;  // refusal
    Mono until{};           // hold
  };

  static Verdict pass() { return Verdict(Kind::kPass, nullptr); }
  static Verdict refuse(Refusal refusal, std::string description, int retry_after_s = 0) {
    auto detail = std::make_unique<Detail>();
    detail->refusal = refusal;
    detail->text = std::move(description);
    detail->retry_after_s = retry_after_s;
    return Verdict(Kind::kRefuse, std::move(detail));
  }
  static Verdict drop() { return Verdict(Kind::kDrop, nullptr); }
  // Drops, and tells the client at the next message boundary, at most once a kNoticeInterval.
  static Verdict notify(std::string notice) {
    auto detail = std::make_unique<Detail>();
    detail->text = std::move(notice);
    return Verdict(Kind::kDrop, std::move(detail));
  }
  static Verdict hold(Mono until) {
    auto detail = std::make_unique<Detail>();
    detail->until = until;
    return Verdict(Kind::kHold, std::move(detail));
  }
  // `reason` empty: the cause's own words.
  static Verdict close(CloseCause cause, std::string reason = "") {
    auto detail = std::make_unique<Detail>();
    detail->cause = cause;
    detail->text = std::move(reason);
    return Verdict(Kind::kClose, std::move(detail));
  }

  Kind kind() const { return kind_; }
  bool passes() const { return kind_ == Kind::kPass; }
  // Set for all kinds but kPass and a drop without notice.
  const Detail* detail() const { return detail_.get(); }

 private:
  Verdict(Kind kind, std::unique_ptr<Detail> detail) : kind_(kind), detail_(std::move(detail)) {}

  Kind kind_;
  std::unique_ptr<Detail> detail_;
};

}  // namespace sluice::filter
