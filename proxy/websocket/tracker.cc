#include "proxy/websocket/tracker.h"

namespace sluice::websocket {

std::string_view text(FrameFault fault) {
  switch (fault) {
    case FrameFault::kNone:
      return "";
    case FrameFault::kMaskMissing:
      return "a client's frame is not masked";
    case FrameFault::kMaskForbidden:
      return "a server's frame is masked";
    case FrameFault::kReservedBits:
      return "reserved bits are set";
    case FrameFault::kControlTooLong:
      return "a control frame is longer than 125 bytes";
    case FrameFault::kControlFragmented:
      return "a control frame is fragmented";
    case FrameFault::kUnexpectedContinuation:
      return "a continuation continues nothing";
    case FrameFault::kMessageUnfinished:
      return "a message begins inside another";
  }
  return "";
}

}  // namespace sluice::websocket
