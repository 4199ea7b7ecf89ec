// For tests: resources in memory, as a server's view shows them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/resource.h"
#include "proxy/sync/resource.h"

namespace sluice::sync {

class TestWorld {
 public:
  void put(std::string_view type, std::string name, std::string bytes) {
    auto resource = std::make_shared<Resource>();
    resource->name = name;
    resource->version = content_version(bytes);
    resource->bytes = std::move(bytes);
    types_[std::string(type)][std::move(name)] = std::move(resource);
  }
  void put(std::string_view type, std::string name, const google::protobuf::MessageLite& message) {
    put(type, std::move(name), deterministic_bytes(message));
  }
  void erase(std::string_view type, const std::string& name) {
    types_[std::string(type)].erase(name);
  }
  void fail(absl::Status status) { failure_ = std::move(status); }

  std::map<std::string, ResourcePtr> all(std::string_view type) const {
    const auto it = types_.find(type);
    return it == types_.end() ? std::map<std::string, ResourcePtr>() : it->second;
  }

  ResourceView view() const {
    return {[this](std::string_view type) {
              std::vector<std::string> names;
              for (const auto& [name, resource] : all(type)) {
                names.push_back(name);
              }
              return names;
            },
            [this](std::string_view type, std::string_view name) -> absl::StatusOr<ResourcePtr> {
              if (!failure_.ok()) {
                return failure_;
              }
              const auto it = types_.find(type);
              if (it == types_.end()) {
                return nullptr;
              }
              const auto found = it->second.find(std::string(name));
              return found == it->second.end() ? nullptr : found->second;
            }};
  }

 private:
  std::map<std::string, std::map<std::string, ResourcePtr>, std::less<>> types_;
  absl::Status failure_;
};

}  // namespace sluice::sync
