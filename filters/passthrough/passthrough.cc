#include "filters/passthrough/passthrough.h"

#include <fmt/format.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "filters/passthrough/passthrough.pb.h"
#include "proxy/filter/config.h"
#include "proxy/filter/filter.h"

namespace sluice::filters::passthrough {
namespace {

struct HeaderPolicy {
  std::vector<std::string> remove;
  std::vector<std::pair<std::string, std::string>> set;
};

class PassthroughFilter final : public filter::Filter {
 public:
  explicit PassthroughFilter(std::shared_ptr<const HeaderPolicy> policy)
      : policy_(std::move(policy)) {}

  Task<filter::Verdict> open(filter::Exchange& exchange) override {
    http::Headers& headers = exchange.request.headers;
    for (const std::string& name : policy_->remove) {
      headers.remove(name);
    }
    for (const auto& [name, value] : policy_->set) {
      headers.set(name, value);
    }
    co_return filter::Verdict::pass();
  }

 private:
  std::shared_ptr<const HeaderPolicy> policy_;
};

class PassthroughFactory final : public filter::FilterFactory {
 public:
  explicit PassthroughFactory(HeaderPolicy policy)
      : policy_(std::make_shared<const HeaderPolicy>(std::move(policy))) {}

  filter::Hooks hooks() const override {
    return {.open = !policy_->remove.empty() || !policy_->set.empty()};
  }
  std::unique_ptr<filter::Filter> make() const override {
    return std::make_unique<PassthroughFilter>(policy_);
  }

 private:
  std::shared_ptr<const HeaderPolicy> policy_;
};

// The session makes these itself; to set one would break the handshake or its framing.
bool made_by_the_proxy(std::string_view name) {
  constexpr std::array<std::string_view, 8> kNames = {
      "host",    "connection", "upgrade",           "content-length",
      "trailer", "te",         "transfer-encoding", "keep-alive"};
  constexpr std::string_view kHandshake = "sec-websocket-";
  for (const std::string_view one : kNames) {
    if (http::equal_ignoring_case(name, one)) {
      return true;
    }
  }
  return http::equal_ignoring_case(name.substr(0, kHandshake.size()), kHandshake);
}

absl::Status check_name(std::string_view field, std::string_view name) {
  if (!http::is_token(name)) {
    return invalid_argument(fmt::format("config.{}: `{}` is not a header's name", field, name));
  }
  if (made_by_the_proxy(name)) {
    return invalid_argument(
        fmt::format("config.{}: the proxy itself makes the header `{}`", field, name));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const filter::FilterFactory>> make_factory(
    const PassthroughConfig& config, filter::SharedState&) {
  HeaderPolicy policy;
  for (int i = 0; i < config.remove_headers_size(); ++i) {
    const std::string& name = config.remove_headers(i);
    SLUICE_RETURN_IF_ERROR(check_name(fmt::format("remove_headers[{}]", i), name));
    policy.remove.push_back(name);
  }
  for (const auto& [name, value] : config.set_headers()) {
    SLUICE_RETURN_IF_ERROR(check_name("set_headers", name));
    if (!http::valid_value(value)) {
      return invalid_argument(
          fmt::format("config.set_headers.{}: a header's value has no control characters and no "
                      "space around it",
                      name));
    }
    policy.set.emplace_back(name, value);
  }
  return std::make_shared<PassthroughFactory>(std::move(policy));
}

}  // namespace

void add_to(filter::FilterRegistry& registry) {
  filter::add_filter<PassthroughConfig>(registry, "passthrough", make_factory);
}

}  // namespace sluice::filters::passthrough
