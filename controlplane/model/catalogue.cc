#include "controlplane/model/catalogue.h"

#include <fmt/format.h>

#include "proxy/base/check.h"

namespace sluice::controlplane::model {
namespace {

using google::protobuf::FieldDescriptor;

// The message that holds the last field of a dotted path, and that field; null message: absent.
std::pair<const Message*, const FieldDescriptor*> resolve(const Message& spec,
                                                          const std::string& path) {
  const Message* message = &spec;
  std::size_t begin = 0;
  for (;;) {
    const std::size_t dot = path.find('.', begin);
    const FieldDescriptor* field =
        message->GetDescriptor()->FindFieldByName(path.substr(begin, dot - begin));
    SLUICE_CHECK(field != nullptr);
    if (dot == std::string::npos) {
      return {message, field};
    }
    if (!message->GetReflection()->HasField(*message, field)) {
      return {nullptr, nullptr};
    }
    message = &message->GetReflection()->GetMessage(*message, field);
    begin = dot + 1;
  }
}

void add_reference(std::vector<Reference>& references, const ReferenceRule& rule, int index,
                   const std::string& value) {
  if (value.empty() || value.compare(0, rule.prefix.size(), rule.prefix) != 0) {
    return;
  }
  references.push_back({&rule, index, {rule.kind, value.substr(rule.prefix.size())}});
}

}  // namespace

std::string Reference::path() const {
  return index < 0 ? fmt::format("spec.{}", rule->field)
                   : fmt::format("spec.{}[{}]", rule->field, index);
}

std::vector<Reference> references_of(const Kind& kind, const Message& spec) {
  std::vector<Reference> references;
  for (const ReferenceRule& rule : kind.references) {
    const auto [message, field] = resolve(spec, rule.field);
    if (message == nullptr) {
      continue;
    }
    const auto* reflection = message->GetReflection();
    if (!field->is_repeated()) {
      const std::string value = reflection->GetString(*message, field);
      add_reference(references, rule, -1, value.empty() ? rule.fallback : value);
      continue;
    }
    const int size = reflection->FieldSize(*message, field);
    for (int i = 0; i < size; ++i) {
      add_reference(references, rule, i, reflection->GetRepeatedString(*message, field, i));
    }
    if (size == 0) {
      add_reference(references, rule, -1, rule.fallback);
    }
  }
  return references;
}

const Resource* Catalogue::find(const Key& key) const {
  const Shelf& shelf = all(key.kind);
  const auto found = shelf.find(key.name);
  return found == shelf.end() ? nullptr : &found->second;
}

const Catalogue::Shelf& Catalogue::all(const std::string& kind) const {
  static const Shelf empty;
  const auto shelf = shelves_.find(kind);
  return shelf == shelves_.end() ? empty : shelf->second;
}

const std::set<Key>& Catalogue::referrers(const Key& target) const {
  static const std::set<Key> nobody;
  const auto found = referrers_.find(target);
  return found == referrers_.end() ? nobody : found->second;
}

void Catalogue::put(Resource resource) {
  erase(resource.key);
  index(resource, true);
  shelves_[resource.key.kind].insert_or_assign(resource.key.name, std::move(resource));
}

void Catalogue::erase(const Key& key) {
  if (const Resource* old = find(key)) {
    index(*old, false);
    shelves_[key.kind].erase(key.name);
  }
}

void Catalogue::index(const Resource& resource, bool add) {
  const Kind* kind = find_kind(resource.key.kind);
  SLUICE_CHECK(kind != nullptr);
  for (const Reference& reference : references_of(*kind, *resource.spec)) {
    if (add) {
      referrers_[reference.target].insert(resource.key);
      continue;
    }
    const auto found = referrers_.find(reference.target);
    if (found != referrers_.end()) {
      found->second.erase(resource.key);
      if (found->second.empty()) {
        referrers_.erase(found);
      }
    }
  }
}

const Resource* Draft::find(const Key& key) const {
  const auto edit = edits_.find(key);
  if (edit == edits_.end()) {
    return base_.find(key);
  }
  return edit->second.now ? &*edit->second.now : nullptr;
}

std::set<Key> Draft::referrers(const Key& target) const {
  std::set<Key> result = base_.referrers(target);
  for (const auto& [key, edit] : edits_) {
    result.erase(key);
    if (!edit.now) {
      continue;
    }
    for (const Reference& reference : references_of(*find_kind(key.kind), *edit.now->spec)) {
      if (reference.target == target) {
        result.insert(key);
      }
    }
  }
  return result;
}

void Draft::put(Resource resource) {
  const Resource* old = base_.find(resource.key);
  if (old != nullptr && old->labels == resource.labels &&
      serialise(*old->spec) == serialise(*resource.spec)) {
    edits_.erase(resource.key);
    return;
  }
  const Key key = resource.key;
  edits_.insert_or_assign(key, Edit{std::move(resource)});
}

void Draft::erase(const Key& key) {
  if (base_.find(key) == nullptr) {
    edits_.erase(key);
  } else {
    edits_.insert_or_assign(key, Edit{});
  }
}

}  // namespace sluice::controlplane::model
