#include "controlplane/api/differences.h"

#include <fmt/format.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <set>

namespace sluice::controlplane::api {
namespace {

using google::protobuf::FieldDescriptor;
using model::Message;

constexpr std::size_t kValueBytesMax = 80;
constexpr char kNone[] = "(none)";

std::string cut(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (text.size() > kValueBytesMax) {
    text = text.substr(0, kValueBytesMax) + "...";
  }
  return text;
}

std::string show_message(const Message& message) {
  if (message.GetDescriptor() == google::protobuf::Duration::descriptor()) {
    return google::protobuf::util::TimeUtil::ToString(
        static_cast<const google::protobuf::Duration&>(message));
  }
  return "{" + message.ShortDebugString() + "}";
}

// One value; `index` -1: of a field that is no list.
std::string show_one(const Message& message, const FieldDescriptor* field, int index) {
  const auto* r = message.GetReflection();
  const bool list = index >= 0;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return list ? r->GetRepeatedString(message, field, index) : r->GetString(message, field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return (list ? r->GetRepeatedBool(message, field, index) : r->GetBool(message, field))
                 ? "true"
                 : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return (list ? r->GetRepeatedEnum(message, field, index) : r->GetEnum(message, field))
          ->name();
    case FieldDescriptor::CPPTYPE_UINT32:
      return std::to_string(list ? r->GetRepeatedUInt32(message, field, index)
                                 : r->GetUInt32(message, field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return std::to_string(list ? r->GetRepeatedUInt64(message, field, index)
                                 : r->GetUInt64(message, field));
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(list ? r->GetRepeatedInt32(message, field, index)
                                 : r->GetInt32(message, field));
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(list ? r->GetRepeatedInt64(message, field, index)
                                 : r->GetInt64(message, field));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return show_message(list ? r->GetRepeatedMessage(message, field, index)
                               : r->GetMessage(message, field));
    default:
      return "?";
  }
}

// Whole, for comparison; cut only when printed.
std::string show(const Message& message, const FieldDescriptor* field) {
  const auto* reflection = message.GetReflection();
  if (!field->is_repeated()) {
    return reflection->HasField(message, field) ? show_one(message, field, -1) : kNone;
  }
  std::vector<std::string> entries;
  for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
    entries.push_back(show_one(message, field, i));
  }
  return fmt::format("[{}]", fmt::join(entries, ", "));
}

class Comparison {
 public:
  explicit Comparison(const model::Kind& kind) : kind_(kind) {}

  void messages(const std::string& path, const Message& before, const Message& now);
  std::vector<std::string> lines;

 private:
  const model::Kind& kind_;
};

void Comparison::messages(const std::string& path, const Message& before, const Message& now) {
  const auto* descriptor = before.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    const std::string here = fmt::format("{}.{}", path, field->name());
    const bool nested = !field->is_repeated() &&
                        field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
                        field->message_type()->file()->package() != "google.protobuf";
    if (nested) {
      messages(here, before.GetReflection()->GetMessage(before, field),
               now.GetReflection()->GetMessage(now, field));
      continue;
    }
    const std::string old_value = show(before, field);
    const std::string new_value = show(now, field);
    if (old_value == new_value) {
      continue;
    }
    const bool hidden = std::find(kind_.write_only.begin(), kind_.write_only.end(),
                                  field->name()) != kind_.write_only.end();
    lines.push_back(hidden ? fmt::format("{}: (hidden) -> (hidden)", here)
                           : fmt::format("{}: {} -> {}", here, cut(old_value), cut(new_value)));
  }
}

}  // namespace

std::vector<std::string> differences(const model::Kind& kind, const model::Resource& before,
                                     const model::Resource& now) {
  Comparison comparison(kind);
  comparison.messages("spec", *before.spec, *now.spec);
  std::set<std::string> labels;
  for (const auto* resource : {&before, &now}) {
    for (const auto& [label, value] : resource->labels) {
      labels.insert(label);
    }
  }
  const auto value_of = [](const model::Resource& resource, const std::string& label) {
    const auto found = resource.labels.find(label);
    return found == resource.labels.end() ? std::string(kNone) : found->second;
  };
  for (const std::string& label : labels) {
    const std::string old_value = value_of(before, label);
    const std::string new_value = value_of(now, label);
    if (old_value != new_value) {
      comparison.lines.push_back(
          fmt::format("meta.labels.{}: {} -> {}", label, cut(old_value), cut(new_value)));
    }
  }
  return std::move(comparison.lines);
}

}  // namespace sluice::controlplane::api
