// The gRPC channel to a control plane, with the limits that its streams need.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "proxy/base/status.h"
#include "proxy/control/credentials.h"

namespace sluice::control {

struct ChannelOptions {
  std::string address;               // HOST:PORT
  const Credentials* tls = nullptr;  // null: plain text. Without key and certificate: only the CA
  // The server's certificate is checked for the host of `address`. False: for `localhost`, which
  // every certificate of a control plane's own CA carries and no proxy's does; whatever name it is
  // reached by.
  bool own_names = false;
};

// Has connections of its own, shared with no other channel, so that back-off is ours alone.
std::shared_ptr<grpc::Channel> make_channel(const ChannelOptions& options);

absl::Status to_status(const grpc::Status& status);

}  // namespace sluice::control
