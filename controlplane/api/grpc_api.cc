#include "controlplane/api/grpc_api.h"

#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/server_callback.h>

#include <string>

#include "controlplane/api/peer.h"
#include "proxy/base/check.h"

namespace sluice::controlplane::api {
namespace {

grpc::Status grpc_status(const absl::Status& status) {
  // The two share their numbers.
  return {static_cast<grpc::StatusCode>(status.code()), std::string(message_of(status))};
}

std::string bytes_of(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (buffer.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) {
      bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  return bytes;
}

// What all calls share, and one call.
struct Api {
  const ServiceTable& table;
  HandlerPool& pool;
  const GrpcApi::Observe& observe;
};
struct Call {
  const Method& method;
  grpc::CallbackServerContext* context;
  const grpc::ByteBuffer* in;
  grpc::ByteBuffer* out;
  grpc::ServerUnaryReactor* reactor;
  Mono begin = system_mono();
};

absl::Status answer(const ServiceTable& table, const Call& call) {
  CallContext context = context_of(*call.context);
  SLUICE_RETURN_IF_ERROR(table.admit(call.method, context));
  const std::unique_ptr<Message> request = call.method.new_request();
  if (!request->ParseFromString(bytes_of(*call.in))) {
    return invalid_argument(
        fmt::format("the request is no {}", call.method.descriptor->input_type()->full_name()));
  }
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<Message> response,
                          call.method.handler(context, *request));
  const grpc::Slice slice(response->SerializeAsString());
  *call.out = grpc::ByteBuffer(&slice, 1);
  return absl::OkStatus();
}

void finish(const Api& api, const Call& call, const absl::Status& status) {
  if (api.observe != nullptr) {
    api.observe(fmt::format("{}/{}", call.method.descriptor->service()->name(),
                            call.method.descriptor->name()),
                status.code(), system_mono() - call.begin);
  }
  call.reactor->Finish(grpc_status(status));
}

// What the code generator would have made for a service whose methods are all in the table.
class TableService final : public grpc::Service {
 public:
  TableService(const Api& api, const std::vector<const Method*>& methods) {
    int index = 0;
    for (const Method* method : methods) {
      names_.push_back(std::make_unique<std::string>(fmt::format(
          "/{}/{}", method->descriptor->service()->full_name(), method->descriptor->name())));
      AddMethod(new grpc::internal::RpcServiceMethod(
          names_.back()->c_str(), grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
      MarkMethodRawCallback(
          index++, new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                       [api, method](grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
                         return start(api, {*method, context, in, out, context->DefaultReactor()});
                       }));
    }
  }

 private:
  static grpc::ServerUnaryReactor* start(const Api& api, const Call& call) {
    const auto work = [api, call] { finish(api, call, answer(api.table, call)); };
    if (!(call.method.waits ? api.pool.post_waiting(work) : api.pool.post(work))) {
      finish(api, call, resource_exhausted("too many calls are under way; try again"));
    }
    return call.reactor;
  }

  std::vector<std::unique_ptr<std::string>> names_;  // gRPC keeps pointers to them
};

}  // namespace

GrpcApi::GrpcApi(const ServiceTable& table, HandlerPool& pool, Observe observe)
    : observe_(std::move(observe)) {
  const Api api{table, pool, observe_};
  for (const auto& [descriptor, methods] : table.services()) {
    names_.push_back(descriptor->full_name());
    services_.push_back(std::make_unique<TableService>(api, methods));
  }
}

GrpcApi::~GrpcApi() = default;

void GrpcApi::register_with(grpc::ServerBuilder& builder) {
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::EnableDefaultHealthCheckService(true);
  for (const std::unique_ptr<grpc::Service>& service : services_) {
    builder.RegisterService(service.get());
  }
}

void GrpcApi::started(grpc::Server& server) {
  grpc::HealthCheckServiceInterface* health = server.GetHealthCheckService();
  SLUICE_CHECK(health != nullptr);
  for (const std::string& name : names_) {
    health->SetServingStatus(name, true);
  }
}

}  // namespace sluice::controlplane::api
