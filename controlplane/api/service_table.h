// The admin services as plain handlers by method name. The gRPC adapter (grpc_api.h) and the JSON
// adapter (controlplane/http) carry the same table.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "controlplane/pki/authority.h"
#include "proxy/base/clock.h"
#include "proxy/base/status.h"

namespace sluice::controlplane::api {

// Who calls, and until when an answer is of use.
enum class Transport { kJson, kGrpc };

struct CallContext {
  Transport transport = Transport::kJson;
  std::string user;            // filled by ServiceTable::admit; empty where no login is needed
  std::string bearer;          // the token after `Bearer `; empty: none
  std::string client_address;  // IP without port
  bool loopback = false;       // the peer is on this machine
  bool plaintext = false;      // no TLS, as asked for by --insecure-plaintext
  pki::Peer certificate;       // kNone: none was shown
  Mono deadline = kNever;
  std::function<bool()> cancelled;  // the caller has gone; null: unknown
};

using Message = google::protobuf::Message;
using Answer = absl::StatusOr<std::unique_ptr<Message>>;
// Runs on a thread of a HandlerPool; may block on the store.
using Handler = std::function<Answer(const CallContext&, const Message&)>;

enum class Access {
  kUser,    // a bearer token from Login; by gRPC beyond loopback a client certificate too
  kAnyone,  // Login
  kJoin,    // gRPC only; the request carries a join token
  kProxy,   // gRPC only; the certificate of a proxy
};

struct Method {
  const google::protobuf::MethodDescriptor* descriptor = nullptr;
  Access access = Access::kUser;
  bool waits = false;  // may last as long as its deadline: not for the pool's few quick threads
  Handler handler;

  std::unique_ptr<Message> new_request() const {
    return std::unique_ptr<Message>(google::protobuf::MessageFactory::generated_factory()
                                        ->GetPrototype(descriptor->input_type())
                                        ->New());
  }
};

// Filled by one function per service file, then immutable; any thread.
class ServiceTable {
 public:
  // The user whose live session a bearer token is. UNAUTHENTICATED. May block.
  using Authenticator = std::function<absl::StatusOr<std::string>(std::string_view token)>;
  explicit ServiceTable(Authenticator authenticator) : authenticator_(std::move(authenticator)) {}

  struct Options {
    Access access = Access::kUser;
    bool waits = false;
  };
  // `name`: sluice.admin.v1.ApiService.GetApi; a bug of ours if no such method is generated.
  void add(const std::string& name, Options options, Handler handler);

  // The handler with its types: `handler(context, request) -> absl::StatusOr<Response>`.
  template <class Request, class Function>
  void add(const std::string& name, Options options, Function handler) {
    add(name, options,
        Handler([handler](const CallContext& context, const Message& request) -> Answer {
          auto response = handler(context, static_cast<const Request&>(request));
          if (!response.ok()) {
            return response.status();
          }
          using Response = typename decltype(response)::value_type;
          return std::unique_ptr<Message>(std::make_unique<Response>(*std::move(response)));
        }));
  }

  // By `sluice.admin.v1.ApiService/GetApi`, with or without a slash before it. Null: no such
  // method.
  const Method* find(std::string_view path) const;
  // Every service of which a method is there, with those methods.
  std::map<const google::protobuf::ServiceDescriptor*, std::vector<const Method*>> services() const;

  // Whether the caller may, and in time: fills context.user. DEADLINE_EXCEEDED, UNAUTHENTICATED,
  // PERMISSION_DENIED. Before anything that the caller sent is looked at. May block.
  absl::Status admit(const Method& method, CallContext& context) const;

 private:
  const Authenticator authenticator_;
  std::map<std::string, Method, std::less<>> methods_;  // by full name with dots
};

}  // namespace sluice::controlplane::api
