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

void run(const ServiceTable& table, const Method& method, grpc::CallbackServerContext* call,
         const grpc::ByteBuffer* in, grpc::ByteBuffer* out, grpc::ServerUnaryReactor* reactor) {
  CallContext context = context_of(*call);
  if (const absl::Status admitted = table.admit(method, context); !admitted.ok()) {
    return reactor->Finish(grpc_status(admitted));
  }
  const std::unique_ptr<Message> request = method.new_request();
  if (!request->ParseFromString(bytes_of(*in))) {
    return reactor->Finish(grpc_status(invalid_argument(
        fmt::format("the request is no {}", method.descriptor->input_type()->full_name()))));
  }
  const Answer answer = method.handler(context, *request);
  if (!answer.ok()) {
    return reactor->Finish(grpc_status(answer.status()));
  }
  const grpc::Slice slice((*answer)->SerializeAsString());
  *out = grpc::ByteBuffer(&slice, 1);
  reactor->Finish(grpc::Status::OK);
}

// What the code generator would have made for a service whose methods are all in the table.
class TableService final : public grpc::Service {
 public:
  TableService(const ServiceTable& table, HandlerPool& pool,
               const std::vector<const Method*>& methods) {
    int index = 0;
    for (const Method* method : methods) {
      names_.push_back(std::make_unique<std::string>(fmt::format(
          "/{}/{}", method->descriptor->service()->full_name(), method->descriptor->name())));
      AddMethod(new grpc::internal::RpcServiceMethod(
          names_.back()->c_str(), grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
      MarkMethodRawCallback(
          index++, new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                       [&table, &pool, method](grpc::CallbackServerContext* call,
                                               const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
                         return start(table, pool, *method, call, in, out);
                       }));
    }
  }

 private:
  static grpc::ServerUnaryReactor* start(const ServiceTable& table, HandlerPool& pool,
                                         const Method& method, grpc::CallbackServerContext* call,
                                         const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
    grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
    const auto work = [&table, &method, call, in, out, reactor] {
      run(table, method, call, in, out, reactor);
    };
    if (!(method.waits ? pool.post_waiting(work) : pool.post(work))) {
      reactor->Finish(grpc_status(resource_exhausted("too many calls are under way; try again")));
    }
    return reactor;
  }

  std::vector<std::unique_ptr<std::string>> names_;  // gRPC keeps pointers to them
};

}  // namespace

GrpcApi::GrpcApi(const ServiceTable& table, HandlerPool& pool) {
  for (const auto& [descriptor, methods] : table.services()) {
    names_.push_back(descriptor->full_name());
    services_.push_back(std::make_unique<TableService>(table, pool, methods));
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
