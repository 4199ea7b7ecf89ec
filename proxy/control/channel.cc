#include "proxy/control/channel.h"

#include "proxy/base/limits.h"

namespace sluice::control {

std::shared_ptr<grpc::Channel> make_channel(const ChannelOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(limits::kDiscoveryMessageBytesMax));
  arguments.SetMaxSendMessageSize(static_cast<int>(limits::kDiscoveryMessageBytesMax));
  constexpr auto ms = [](nanoseconds time) {
    return static_cast<int>(duration_cast<milliseconds>(time).count());
  };
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, ms(limits::kKeepaliveInterval));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ms(limits::kKeepaliveTimeout));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A failed connection is not tried again inside gRPC: our back-off makes a new channel.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, ms(limits::kControlConnectTimeout));
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, ms(limits::kBackoffMin));
  arguments.SetServiceConfigJSON("{}");
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  if (options.tls == nullptr) {
    return grpc::CreateCustomChannel(options.address, grpc::InsecureChannelCredentials(),
                                     arguments);
  }
  if (!options.own_names) {
    arguments.SetSslTargetNameOverride("localhost");
  }
  const grpc::SslCredentialsOptions tls{options.tls->ca_pem, options.tls->key_pem,
                                        options.tls->certificate_pem};
  return grpc::CreateCustomChannel(options.address, grpc::SslCredentials(tls), arguments);
}

absl::Status to_status(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), to_absl(status.error_message())};
}

}  // namespace sluice::control
