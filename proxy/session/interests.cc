#include "proxy/session/interests.h"

#include <string>

namespace sluice::session {

std::uint64_t InterestIndex::key_of(const model::Subject& subject) {
  const std::uint64_t name = std::hash<std::string>{}(subject.name);
  return name * 8 + static_cast<std::uint64_t>(subject.kind);
}

void InterestIndex::add(Node& node) {
  Node*& head = heads_[node.key];
  node.prev = nullptr;
  node.next = head;
  if (head != nullptr) {
    head->prev = &node;
  }
  head = &node;
}

void InterestIndex::remove(Node& node) {
  if (node.next != nullptr) {
    node.next->prev = node.prev;
  }
  if (node.prev != nullptr) {
    node.prev->next = node.next;
    return;
  }
  const auto it = heads_.find(node.key);
  if (node.next != nullptr) {
    it->second = node.next;
  } else {
    heads_.erase(it);
  }
}

void InterestIndex::find(const model::Subject& subject, std::vector<Connection*>& out) const {
  const auto it = heads_.find(key_of(subject));
  for (const Node* node = it == heads_.end() ? nullptr : it->second; node != nullptr;
       node = node->next) {
    out.push_back(node->connection);
  }
}

}  // namespace sluice::session
