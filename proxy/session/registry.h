// What a worker must find again, in no order.
#pragma once

#include <cstddef>
#include <vector>

namespace sluice::session {

// Its items have a member `std::size_t registry_index` that is the registry's. One thread.
template <class T>
class Registry {
 public:
  void add(T& item) {
    item.registry_index = items_.size();
    items_.push_back(&item);
  }
  void remove(T& item) {
    items_.back()->registry_index = item.registry_index;
    items_[item.registry_index] = items_.back();
    items_.pop_back();
  }
  const std::vector<T*>& items() const { return items_; }

 private:
  std::vector<T*> items_;
};

}  // namespace sluice::session
