// The filters that this program has, by name. Filled at start from an explicit list
// (filters/all.h).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <typeindex>

#include "proxy/base/status.h"
#include "proxy/filter/filter.h"

namespace google::protobuf {
class Struct;
}

namespace sluice::filter {

// State of filters that outlives their factories, e.g. the counters of limits: one object per type,
// made on first use. Owned by main; any thread.
class SharedState {
 public:
  template <class T>
  std::shared_ptr<T> get() {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<void>& slot = slots_[std::type_index(typeid(T))];
    if (slot == nullptr) {
      slot = std::make_shared<T>();
    }
    return std::static_pointer_cast<T>(slot);
  }

 private:
  std::mutex mutex_;
  std::map<std::type_index, std::shared_ptr<void>> slots_;
};

// Makes a factory from a filter's settings. INVALID_ARGUMENT names the field.
using MakeFactory = std::function<absl::StatusOr<std::shared_ptr<const FilterFactory>>(
    const google::protobuf::Struct& config, SharedState& shared)>;

class FilterRegistry {
 public:
  // `name` must be new.
  void add(std::string name, MakeFactory make);

  // NOT_FOUND lists the names there are.
  absl::StatusOr<std::shared_ptr<const FilterFactory>> make(std::string_view name,
                                                            const google::protobuf::Struct& config,
                                                            SharedState& shared) const;

 private:
  std::map<std::string, MakeFactory, std::less<>> makers_;
};

}  // namespace sluice::filter
