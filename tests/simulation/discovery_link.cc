#include "tests/simulation/discovery_link.h"

#include <fmt/format.h>

#include <utility>

namespace sluice::simulation {

void Connector::try_after(nanoseconds delay) {
  schedule_.after(delay + chance_.lateness(), [this] {
    if (!connect_()) {
      lost();
    }
  });
}

DiscoveryLink::DiscoveryLink(std::string name, const Parts& parts, Client client, Watch watch)
    : name_(std::move(name)),
      parts_(parts),
      client_(std::move(client)),
      watch_(std::move(watch)),
      connector_(parts.schedule, parts.chance, [this] { return connect(); }),
      up_(parts.schedule, parts.chance, Channel<xds::DeltaDiscoveryRequest>::Flow::kAll,
          [this](const xds::DeltaDiscoveryRequest& request) { on_request(request); }),
      down_(parts.schedule, parts.chance, Channel<Response>::Flow::kOne,
            [this](const Response& response) { on_response(response); }) {}

bool DiscoveryLink::connect() {
  last_away_ = parts_.schedule.now();
  if (!parts_.control_plane_up) {
    return false;
  }
  parts_.report.trace("{}: connected", name_);
  server_ = std::make_unique<sync::DeltaServerStream>(
      parts_.world.view(), parts_.world.revision(), sync::DeltaServerStream::Options{});
  down_.read();
  client_.connected([this](xds::DeltaDiscoveryRequest request) { send(std::move(request)); },
                    [this] { down_.read(); });
  return true;
}

void DiscoveryLink::cut() {
  if (server_ == nullptr) {
    return;
  }
  parts_.report.trace("{}: cut", name_);
  last_away_ = parts_.schedule.now();
  server_ = nullptr;
  up_.cut();
  down_.cut();
  unanswered_.clear();
  client_.disconnected();
  connector_.lost();
}

void DiscoveryLink::send(xds::DeltaDiscoveryRequest request) {
  if (!request.response_nonce().empty()) {
    const auto answered = unanswered_.extract(request.response_nonce());
    parts_.report.trace("{}: answers {} {}{}", name_, request.response_nonce(),
                        sync::kind_of_type(request.type_url()),
                        request.has_error_detail() ? " with a refusal" : "");
    if (answered.empty()) {
      parts_.report.broken("one answer for each response",
                           fmt::format("{}: nonce {} is not to be answered", name_,
                                       request.response_nonce()));
    } else {
      watch_.answered(*answered.mapped(), request);
    }
  }
  up_.send(std::move(request));
}

void DiscoveryLink::on_request(const xds::DeltaDiscoveryRequest& request) {
  const absl::Status status = server_->on_request(request);
  if (!status.ok()) {
    parts_.report.broken("the proxy keeps the protocol",
                         fmt::format("{}: {}", name_, message_of(status)));
    return;
  }
  pump();
  if (up_.empty()) {
    client_.writable();
  }
}

void DiscoveryLink::on_response(const Response& response) {
  connector_.heard();
  std::string names;
  for (const xds::Resource& resource : response->resources()) {
    names += " " + resource.name().substr(0, 8);
  }
  for (const std::string& name : response->removed_resources()) {
    names += " -" + name.substr(0, 8);
  }
  parts_.report.trace("{}: gets {} {}{}", name_, response->nonce(),
                      sync::kind_of_type(response->type_url()), names);
  unanswered_[response->nonce()] = response;
  watch_.delivered(*response);
  client_.response(*response);
}

void DiscoveryLink::changed(std::int64_t revision,
                            std::span<const sync::ResourceChange> changes) {
  if (server_ != nullptr) {
    server_->on_changes(revision, changes);
    pump();
  }
}

void DiscoveryLink::pump() {
  while (auto response = server_->next()) {
    down_.send(std::make_shared<const xds::DeltaDiscoveryResponse>(*std::move(response)));
  }
}

bool DiscoveryLink::at_rest() const {
  return server_ != nullptr && up_.empty() && down_.empty() && unanswered_.empty() &&
         server_->unanswered() == 0;
}

}  // namespace sluice::simulation
