// The gRPC adapter of one discovery stream, delta or state of the world.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "controlplane/discovery/ads_stream.h"
#include "controlplane/discovery/event_thread.h"
#include "controlplane/discovery/hub.h"
#include "proxy/sync/delta_server.h"
#include "proxy/sync/sotw_server.h"

namespace sluice::controlplane::discovery {

struct Delta {
  using Request = sync::xds::DeltaDiscoveryRequest;
  using Response = sync::xds::DeltaDiscoveryResponse;
  using Machine = sync::DeltaServerStream;
};
struct StateOfTheWorld {
  using Request = sync::xds::DiscoveryRequest;
  using Response = sync::xds::DiscoveryResponse;
  using Machine = sync::SotwServerStream;
};

// Counted by all streams; any thread.
struct StreamCounters {
  std::atomic<std::uint64_t> open{0};
  std::atomic<std::uint64_t> responses{0};
  std::atomic<std::uint64_t> acks{0};
  std::atomic<std::uint64_t> nacks{0};
  std::atomic<std::uint64_t> refused{0};
};

// What the streams of a server share; outlives them.
struct StreamContext {
  Hub& hub;
  EventThread& thread;
  StreamCounters& counters;
  std::string identifier;
  std::function<nanoseconds()> age;  // of a new stream; this and the rest on the discovery thread
  std::set<AdsStream*> all = {};
  bool stopping = false;
  std::function<void()> none_left = nullptr;  // called once `stopping` and the last is gone
};

grpc::Status to_grpc(const absl::Status& status);
Client client_of(const grpc::CallbackServerContext& context);

// Made on a gRPC thread, lives on the discovery thread, deletes itself when gRPC is done with it.
template <class Variant>
class ServerStream final
    : public grpc::ServerBidiReactor<typename Variant::Request, typename Variant::Response>,
      public AdsStream {
 public:
  using Request = typename Variant::Request;
  using Response = typename Variant::Response;
  using Machine = typename Variant::Machine;

  ServerStream(StreamContext& shared, grpc::CallbackServerContext* context)
      : shared_(shared), context_(context), client_(client_of(*context)) {
    ++shared_.counters.open;
    this->StartSendInitialMetadata();
    if (!shared_.thread.post([this] { begin(); })) {
      this->Finish({grpc::StatusCode::UNAVAILABLE, "this control plane is stopping"});
      return;
    }
    this->StartRead(&in_);
  }

  // ---- AdsStream
  void on_changes(std::int64_t revision,
                  std::span<const sync::ResourceChange> changes) override {
    machine_->on_changes(revision, changes);
  }
  void on_reset(std::int64_t revision) override { machine_->on_reset(revision); }
  bool wants_retry() const override { return machine_->wants_retry(); }
  void retry() override {
    if constexpr (std::is_same_v<Variant, StateOfTheWorld>) {
      machine_->on_reset(machine_->revision());
    }
    pump();
  }
  bool requested(std::string_view type_url) const override {
    return machine_->requested(type_url);
  }
  std::int64_t acknowledged_revision() const override { return machine_->acknowledged_revision(); }
  std::vector<sync::Refusal> refusals() const override { return machine_->refusals(); }

  void pump() override {
    if (writing_ || ended_ || ending_ || !machine_) {
      return;
    }
    std::optional<Response> response = machine_->next();
    if (!response) {
      return;
    }
    ++shared_.counters.responses;
    out_ = *std::move(response);
    writing_ = true;
    this->StartWrite(&out_);
  }

  void finish(absl::Status status, bool cut) override {
    if (ended_) {
      return;
    }
    if (writing_) {
      // gRPC takes no end while a message is on its way; if the client takes none, we do not wait.
      ending_ = ending_ ? ending_ : std::optional(std::move(status));
      if (cut) {
        context_->TryCancel();
      }
      return;
    }
    ended_ = true;
    age_.cancel();
    shared_.hub.on_gone(*this);
    this->Finish(to_grpc(ending_ ? *ending_ : status));
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      shared_.thread.post([this] { finish(absl::OkStatus(), false); });
      return;
    }
    shared_.thread.post([this] {
      on_request(in_);
      if (!ended_) {
        this->StartRead(&in_);
      }
    });
  }

  void OnWriteDone(bool ok) override {
    shared_.thread.post([this, ok] {
      writing_ = false;
      if (ending_ || !ok) {
        finish(cancelled("the client is gone"), false);
        return;
      }
      pump();
    });
  }

  void OnCancel() override {
    shared_.thread.post([this] { finish(cancelled("the client is gone"), false); });
  }

  void OnDone() override {
    --shared_.counters.open;
    StreamContext& shared = shared_;
    const bool posted = shared_.thread.post([this, &shared] {
      shared.all.erase(this);
      delete this;
      if (shared.stopping && shared.all.empty()) {
        std::exchange(shared.none_left, [] {})();
      }
    });
    if (!posted) {
      delete this;  // refused in the constructor
    }
  }

  void on_request(const Request& request) {
    if (ended_ || ending_) {
      return;
    }
    if (!machine_) {
      const absl::StatusOr<Hub::Admission> admission =
          shared_.hub.admit(*this, client_, request.node());
      if (!admission.ok()) {
        ++shared_.counters.refused;
        finish(admission.status(), false);
        return;
      }
      typename Machine::Options options;
      options.control_plane = shared_.identifier;
      machine_.emplace(admission->view, admission->revision, std::move(options));
    } else if (request.has_node()) {
      shared_.hub.on_node(*this, request.node());
    }
    if (!request.response_nonce().empty()) {
      ++(request.has_error_detail() ? shared_.counters.nacks : shared_.counters.acks);
    }
    if (const absl::Status status = machine_->on_request(request); !status.ok()) {
      ++shared_.counters.refused;
      finish(status, false);
      return;
    }
    shared_.hub.on_progress(*this);
  }

  void begin() {
    shared_.all.insert(this);
    if (shared_.stopping) {
      finish(unavailable("this control plane is stopping"), false);
      return;
    }
    shared_.thread.timers().arm(age_, shared_.thread.clock().now() + shared_.age());
  }
  static void on_age(void* self) {
    static_cast<ServerStream*>(self)->finish(absl::OkStatus(), false);
  }

  StreamContext& shared_;
  grpc::CallbackServerContext* const context_;
  const Client client_;
  Request in_;
  Response out_;
  std::optional<Machine> machine_;     // from the first request on
  bool writing_ = false;
  bool ended_ = false;                 // Finish was called
  std::optional<absl::Status> ending_;  // to be called after the write
  Timer age_{&ServerStream::on_age, this};
};

}  // namespace sluice::controlplane::discovery
