// How a NACK says which resources were refused and why: google.rpc.Status whose details are
// sluice.admin.v1.Refusal messages, one for each fault.
#pragma once

#include <google/rpc/status.pb.h>

#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/status.h"
#include "sluice/admin/v1/services.pb.h"

namespace sluice::sync {

using Refusal = ::sluice::admin::v1::Refusal;

// The error_detail of a NACK. `total` resources were in the response. Status code INVALID_ARGUMENT.
google::rpc::Status make_nack(const std::vector<Refusal>& refusals, std::size_t total);

// A NACK of a whole response, for a fault of the protocol.
google::rpc::Status make_nack(std::string_view reason);

// The refusals in an error_detail; empty if it has none that are ours.
std::vector<Refusal> refusals_of(const google::rpc::Status& error_detail);

google::rpc::Status to_rpc(const absl::Status& status);
absl::Status from_rpc(const google::rpc::Status& status);

// The last part of a type URL, which is the resource's kind: `Api` of
// type.googleapis.com/sluice.config.v1.Api.
std::string_view kind_of_type(std::string_view type_url);

}  // namespace sluice::sync
