// Discovery messages in any order, to both halves: no crash; a server sends no name twice in one
// response and nothing that was not asked for; a client answers each response once.
//
// Input: steps of one byte (what), two bytes (length, little-endian) and as many bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/sync/delta_server.h"
#include "proxy/sync/sotw_server.h"
#include "proxy/sync/test_proxy.h"
#include "proxy/sync/test_world.h"

namespace sluice::sync {
namespace {

using config::Kind;

class Fuzz {
 public:
  Fuzz() {
    proxy_.config.on_connected({}, [this](const auto& request) { on_answer(request); },
                               [this] { ++reads_; });
    proxy_.identity.on_connected({}, [this](const auto& request) { on_answer(request); },
                                 [this] { ++reads_; });
    world_.put(config::type_url(Kind::kPlan), "p", "");
    world_.put(config::type_url(Kind::kApi), "a", std::string(600, 'x'));
    world_.put(config::type_url(Kind::kApi), "b", std::string(600, 'y'));
    world_.put(config::type_url(Kind::kUpstream), "u", "");
    open();
  }

  void step(std::uint8_t what, std::string_view bytes) {
    switch (what % 8) {
      case 0:
      case 1:
        to_delta_server(bytes);
        break;
      case 2:
        to_sotw_server(bytes);
        break;
      case 3:
      case 4:
        to_client(bytes, proxy_.config);
        break;
      case 5:
        to_client(bytes, proxy_.identity);
        break;
      case 6:
        change(bytes);
        break;
      default:
        reconnect(bytes);
    }
    drain();
  }

 private:
  void open() {
    DeltaServerStream::Options options;
    options.response_bytes_max = 1000;
    options.unanswered_max = 8;
    delta_.emplace(world_.view(), revision_, std::move(options));
    sotw_.emplace(world_.view(), revision_, SotwServerStream::Options{});
    nonces_.clear();
  }

  void to_delta_server(std::string_view bytes) {
    xds::DeltaDiscoveryRequest request;
    if (request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) &&
        !delta_->on_request(request).ok()) {
      open();
    }
  }
  void to_sotw_server(std::string_view bytes) {
    xds::DiscoveryRequest request;
    if (request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) &&
        !sotw_->on_request(request).ok()) {
      open();
    }
  }

  template <class Client>
  void to_client(std::string_view bytes, Client& client) {
    xds::DeltaDiscoveryResponse response;
    if (!response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return;
    }
    nonce_ = response.nonce();
    answers_ = 0;
    reads_ = 0;
    client.on_response(std::move(response));
    SLUICE_CHECK(reads_ == 1);
    SLUICE_CHECK(nonce_.empty() || answers_ == 1);
  }
  void on_answer(const xds::DeltaDiscoveryRequest& request) {
    answers_ += !nonce_.empty() && request.response_nonce() == nonce_ ? 1 : 0;
  }

  void change(std::string_view bytes) {
    const Kind kind = bytes.empty() ? Kind::kApi : static_cast<Kind>(bytes[0] & 3);
    const std::string name(1, bytes.size() > 1 ? bytes[1] : 'a');
    if (bytes.size() > 2) {
      world_.put(config::type_url(kind), name, std::string(bytes.substr(2)));
    } else {
      world_.erase(config::type_url(kind), name);
    }
    const ResourceChange changed{config::type_url(kind), name};
    ++revision_;
    delta_->on_changes(revision_, {&changed, 1});
    sotw_->on_changes(revision_, {&changed, 1});
  }

  void reconnect(std::string_view bytes) {
    open();
    proxy_.identity.on_disconnected(!bytes.empty());
    proxy_.identity.on_connected({}, [this](const auto& request) { on_answer(request); },
                                 [this] { ++reads_; });
    proxy_.identity.lookup(sha256(bytes), "1.2.3.4", [](const auto&) {});
    // So that a response can speak of a token that was asked for.
    proxy_.identity.lookup(sha256("t"), "1.2.3.4", [](const auto&) {});
  }

  void drain() {
    for (int responses = 0; auto response = delta_->next(); ++responses) {
      SLUICE_CHECK(responses < 9);
      SLUICE_CHECK(nonces_.insert(response->nonce()).second);
      std::set<std::string_view> names;
      for (const xds::Resource& resource : response->resources()) {
        SLUICE_CHECK(names.insert(resource.name()).second);
        SLUICE_CHECK(delta_->subscribed(response->type_url(), resource.name()));
        SLUICE_CHECK(!resource.version().empty());
      }
      for (const std::string& name : response->removed_resources()) {
        SLUICE_CHECK(names.insert(name).second);
      }
      SLUICE_CHECK(response->resources().size() <= 1 || response->ByteSizeLong() < 2000);
    }
    SLUICE_CHECK(delta_->acknowledged_revision() <= revision_);
    for (int responses = 0; sotw_->next(); ++responses) {
      SLUICE_CHECK(responses < 65);  // one a type
    }
    SLUICE_CHECK(sotw_->acknowledged_revision() <= revision_);
    delta_->refusals();
    sotw_->refusals();
  }

  TestWorld world_;
  TestProxy proxy_;
  std::int64_t revision_ = 3;
  std::optional<DeltaServerStream> delta_;
  std::optional<SotwServerStream> sotw_;
  std::set<std::string> nonces_;
  std::string nonce_;
  int answers_ = 0;
  int reads_ = 0;
};

}  // namespace
}  // namespace sluice::sync

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::log::silence();
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  sluice::sync::Fuzz fuzz;
  while (bytes.size() >= 3) {
    const auto what = static_cast<std::uint8_t>(bytes[0]);
    const std::size_t length = static_cast<std::uint8_t>(bytes[1]) +
                               256 * static_cast<std::size_t>(static_cast<std::uint8_t>(bytes[2]));
    bytes.remove_prefix(3);
    const std::string_view payload = bytes.substr(0, std::min(length, bytes.size()));
    bytes.remove_prefix(payload.size());
    fuzz.step(what, payload);
  }
  return 0;
}
