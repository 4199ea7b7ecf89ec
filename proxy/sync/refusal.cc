#include "proxy/sync/refusal.h"

#include <fmt/format.h>

namespace sluice::sync {

namespace {
constexpr std::size_t kTextBytesMax = 4096;
}  // namespace

google::rpc::Status make_nack(const std::vector<Refusal>& refusals, std::size_t total) {
  google::rpc::Status status;
  status.set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
  std::string text = fmt::format("refused, of {} resources:", total);
  for (const Refusal& refusal : refusals) {
    if (text.size() < kTextBytesMax) {
      text += fmt::format("\n{} {}: {}{}{}", refusal.kind(), refusal.name(), refusal.field(),
                          refusal.field().empty() ? "" : ": ", refusal.reason());
    }
    status.add_details()->PackFrom(refusal);
  }
  status.set_message(text);
  return status;
}

google::rpc::Status make_nack(std::string_view reason) {
  google::rpc::Status status;
  status.set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
  status.set_message(std::string(reason));
  return status;
}

std::vector<Refusal> refusals_of(const google::rpc::Status& error_detail) {
  std::vector<Refusal> refusals;
  for (const auto& detail : error_detail.details()) {
    Refusal refusal;
    if (detail.Is<Refusal>() && detail.UnpackTo(&refusal)) {
      refusals.push_back(std::move(refusal));
    }
  }
  return refusals;
}

google::rpc::Status to_rpc(const absl::Status& status) {
  google::rpc::Status rpc;
  rpc.set_code(static_cast<int>(status.code()));
  rpc.set_message(std::string(message_of(status)));
  return rpc;
}

absl::Status from_rpc(const google::rpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.code()), to_absl(status.message())};
}

std::string_view kind_of_type(std::string_view type_url) {
  return type_url.substr(type_url.find_last_of("./") + 1);
}

}  // namespace sluice::sync
