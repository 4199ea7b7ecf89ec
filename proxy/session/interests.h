// Which live connections of a worker depend on what: a change looks its subject up here and
// rechecks just these.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <functional>
#include <vector>

#include "proxy/model/resources.h"

namespace sluice::session {

class Connection;

// Subjects are kept as 64-bit hashes; a collision costs a needless recheck and nothing else. One
// worker's; its thread.
class InterestIndex {
 public:
  // One connection's interest in one subject; a node of the subject's list.
  struct Node {
    Connection* connection = nullptr;
    std::uint64_t key = 0;
    Node* prev = nullptr;
    Node* next = nullptr;
  };

  static std::uint64_t key_of(const model::Subject& subject);

  // `node` stays where it is until removed.
  void add(Node& node);
  void remove(Node& node);

  // Adds the connections that depend on `subject` to `out`.
  void find(const model::Subject& subject, std::vector<Connection*>& out) const;

  std::size_t subjects() const { return heads_.size(); }

 private:
  boost::unordered_flat_map<std::uint64_t, Node*> heads_;
};

}  // namespace sluice::session
