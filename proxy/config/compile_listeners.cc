// The steps of a compile that concern listeners.
#include "proxy/config/compiler.h"

namespace sluice::config {

void Compiler::change_listeners() {
  for (const auto& listener : listeners_) {
    listeners_by_name_[listener->name] = listener;
  }
  each(Kind::kListener, false, [this](Item& item) { upsert_listener(item); });
  each(Kind::kListener, true, [this](Item& item) {
    if (listeners_by_name_.erase(item.key.name) > 0) {
      touched_.insert(item.key);
    }
  });
  settle_addresses();
  renew_certificates();
  listeners_.clear();
  for (const auto& [name, listener] : listeners_by_name_) {
    listeners_.push_back(listener);
  }
}

void Compiler::upsert_listener(Item& item) {
  v1::Listener spec;
  Sha256 content{};
  if (!parse(item, spec, content)) {
    return;
  }
  const auto found = listeners_by_name_.find(item.key.name);
  const std::shared_ptr<const CompiledListener> old =
      found == listeners_by_name_.end() ? nullptr : found->second;
  if (old != nullptr && old->content == content) {
    return;
  }
  Faults faults(item.key.kind, item.key.name);
  std::shared_ptr<CompiledListener> listener =
      build_listener(spec, faults, item.key.name, old.get(), around());
  if (listener == nullptr) {
    return refuse(item, faults);
  }
  listener->content = content;
  touched_.insert(item.key);
  listeners_by_name_[item.key.name] = std::move(listener);
  listener_changes_.push_back({&item, old});
}

// Looked at when all have changed, so that addresses can change hands within one delta. Whoever is
// refused takes its old address back, which may refuse another one; the base had no conflicts, so
// this ends.
void Compiler::settle_addresses() {
  const auto clash = [this](const CompiledListener& mine) -> const CompiledListener* {
    for (const auto& [name, other] : listeners_by_name_) {
      if (name != mine.name && other->group == mine.group && mine.port != 0 &&
          other->port == mine.port && parse_ip(other->address) == parse_ip(mine.address)) {
        return other.get();
      }
    }
    return nullptr;
  };
  for (bool again = true; again;) {
    again = false;
    for (auto it = listener_changes_.rbegin(); it != listener_changes_.rend(); ++it) {
      Item& item = *it->item;
      if (!item.faults.empty()) {
        continue;
      }
      const auto mine = listeners_by_name_.find(item.key.name);
      if (const CompiledListener* other = clash(*mine->second)) {
        refuse(item, "spec.port",
               fmt::format("{} port {} is the address of Listener {} already",
                           mine->second->address, mine->second->port, other->name));
        if (it->old == nullptr) {
          listeners_by_name_.erase(mine);
        } else {
          mine->second = it->old;
        }
        again = true;
      }
    }
  }
}

void Compiler::renew_certificates() {
  for (auto& [name, listener] : listeners_by_name_) {
    if (listener->secret.empty()) {
      continue;
    }
    const auto& tls = secrets_.find(listener->secret)->tls;
    if (listener->tls != tls) {
      auto fresh = std::make_shared<CompiledListener>(*listener);
      fresh->tls = tls;
      touched_.insert({Kind::kListener, name});
      listener = std::move(fresh);
    }
  }
}

}  // namespace sluice::config
