// The specs of manifests to typed messages and back.
#include <fmt/format.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>
#include <google/protobuf/util/time_util.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "proxy/base/clock.h"
#include "proxy/config/manifest.h"
#include "proxy/config/text.h"

namespace sluice::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::Struct;
using google::protobuf::Value;

std::string shown(const Value& value) {
  switch (value.kind_case()) {
    case Value::kStringValue:
      return fmt::format("'{}'", value.string_value());
    case Value::kNumberValue:
      return fmt::format("{}", value.number_value());
    case Value::kBoolValue:
      return value.bool_value() ? "true" : "false";
    case Value::kListValue:
      return "a list";
    case Value::kStructValue:
      return "a mapping";
    default:
      return "nothing";
  }
}

// Exact, from a number or from digits.
template <class Int>
std::optional<Int> as_integer(const Value& value) {
  if (value.kind_case() == Value::kNumberValue) {
    const double number = value.number_value();
    // 2^53: beyond, a double no longer says which integer was meant.
    if (std::floor(number) != number || std::fabs(number) > 9007199254740992.0 ||
        number < static_cast<double>(std::numeric_limits<Int>::min()) ||
        number > static_cast<double>(std::numeric_limits<Int>::max())) {
      return std::nullopt;
    }
    return static_cast<Int>(number);
  }
  const std::string& text = value.string_value();
  Int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

std::vector<std::string> field_names(const Descriptor* descriptor) {
  std::vector<std::string> names;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    names.push_back(descriptor->field(i)->name());
  }
  return names;
}

class Decoder {
 public:
  explicit Decoder(const Manifest& manifest) : manifest_(manifest) {}

  void message(const Struct& fields, const std::string& path, Message& out);
  std::vector<std::string>& faults() { return faults_; }
  std::vector<std::string>& fields() { return fields_; }

 private:
  void field(const FieldDescriptor* field, const Value& value, const std::string& path,
             Message& out);
  void single(const FieldDescriptor* field, const Value& value, const std::string& path,
              Message& out);
  void sub_message(const FieldDescriptor* field, const Value& value, const std::string& path,
                   Message& out);
  void enumerator(const FieldDescriptor* field, const Value& value, const std::string& path,
                  Message& out);
  template <class Int>
  void integer(const FieldDescriptor* field, const Value& value, const std::string& path,
               Message& out);
  void fault(const std::string& path, std::string_view message) {
    faults_.push_back(fmt::format("{}{} {}: {}: {}", manifest_.place(path), manifest_.kind,
                                  manifest_.name, path, message));
    fields_.push_back(path);
  }

  const Manifest& manifest_;
  std::vector<std::string> faults_;
  std::vector<std::string> fields_;  // of the faults
};

void Decoder::message(const Struct& fields, const std::string& path, Message& out) {
  const Descriptor* descriptor = out.GetDescriptor();
  for (const auto& [key, value] : fields.fields()) {
    const std::string field_path = fmt::format("{}.{}", path, key);
    const FieldDescriptor* known = descriptor->FindFieldByName(key);
    if (known == nullptr) {
      known = descriptor->FindFieldByCamelcaseName(key);
    }
    if (known == nullptr) {
      const std::vector<std::string> names = field_names(descriptor);
      std::string guess = did_you_mean(key, names);
      fault(field_path, guess.empty() ? fmt::format("there is no such field; there are {}",
                                                    fmt::join(names, ", "))
                                      : "there is no such field" + guess);
    } else if (value.kind_case() != Value::kNullValue && value.kind_case() != Value::KIND_NOT_SET) {
      field(known, value, field_path, out);
    }
  }
}

void Decoder::field(const FieldDescriptor* field, const Value& value, const std::string& path,
                    Message& out) {
  if (!field->is_repeated()) {
    return single(field, value, path, out);
  }
  if (value.kind_case() != Value::kListValue) {
    return fault(path, fmt::format("a list is needed, not {}", shown(value)));
  }
  for (int i = 0; i < value.list_value().values_size(); ++i) {
    single(field, value.list_value().values(i), fmt::format("{}[{}]", path, i), out);
  }
}

template <class Int>
void Decoder::integer(const FieldDescriptor* field, const Value& value, const std::string& path,
                      Message& out) {
  const std::optional<Int> number = as_integer<Int>(value);
  if (!number) {
    return fault(path, fmt::format("a whole number from {} to {} is needed, not {}",
                                   std::numeric_limits<Int>::min(), std::numeric_limits<Int>::max(),
                                   shown(value)));
  }
  const Reflection* set = out.GetReflection();
  const bool many = field->is_repeated();
  if constexpr (std::is_same_v<Int, std::int32_t>) {
    many ? set->AddInt32(&out, field, *number) : set->SetInt32(&out, field, *number);
  } else if constexpr (std::is_same_v<Int, std::int64_t>) {
    many ? set->AddInt64(&out, field, *number) : set->SetInt64(&out, field, *number);
  } else if constexpr (std::is_same_v<Int, std::uint32_t>) {
    many ? set->AddUInt32(&out, field, *number) : set->SetUInt32(&out, field, *number);
  } else {
    many ? set->AddUInt64(&out, field, *number) : set->SetUInt64(&out, field, *number);
  }
}

void Decoder::single(const FieldDescriptor* field, const Value& value, const std::string& path,
                     Message& out) {
  const Reflection* set = out.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      if (value.kind_case() != Value::kStringValue) {
        return fault(path,
                     fmt::format("a text is needed, not {}; give it in quotes", shown(value)));
      }
      field->is_repeated() ? set->AddString(&out, field, value.string_value())
                           : set->SetString(&out, field, value.string_value());
      return;
    case FieldDescriptor::CPPTYPE_BOOL:
      if (value.kind_case() != Value::kBoolValue) {
        return fault(path, fmt::format("true or false is needed, not {}", shown(value)));
      }
      field->is_repeated() ? set->AddBool(&out, field, value.bool_value())
                           : set->SetBool(&out, field, value.bool_value());
      return;
    case FieldDescriptor::CPPTYPE_INT32:
      return integer<std::int32_t>(field, value, path, out);
    case FieldDescriptor::CPPTYPE_INT64:
      return integer<std::int64_t>(field, value, path, out);
    case FieldDescriptor::CPPTYPE_UINT32:
      return integer<std::uint32_t>(field, value, path, out);
    case FieldDescriptor::CPPTYPE_UINT64:
      return integer<std::uint64_t>(field, value, path, out);
    case FieldDescriptor::CPPTYPE_ENUM:
      return enumerator(field, value, path, out);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return sub_message(field, value, path, out);
    default:
      return fault(path, "cannot be given in a file");
  }
}

void Decoder::enumerator(const FieldDescriptor* field, const Value& value, const std::string& path,
                         Message& out) {
  const EnumDescriptor* words = field->enum_type();
  std::vector<std::string> names;
  for (int i = 0; i < words->value_count(); ++i) {
    if (words->value(i)->number() != 0) {
      names.push_back(words->value(i)->name());
    }
    if (words->value(i)->number() != 0 && words->value(i)->name() == value.string_value()) {
      field->is_repeated() ? out.GetReflection()->AddEnum(&out, field, words->value(i))
                           : out.GetReflection()->SetEnum(&out, field, words->value(i));
      return;
    }
  }
  fault(path, fmt::format("{} is not {}{}", shown(value), one_of(names),
                          did_you_mean(value.string_value(), names)));
}

void Decoder::sub_message(const FieldDescriptor* field, const Value& value, const std::string& path,
                          Message& out) {
  const Reflection* set = out.GetReflection();
  Message* sub =
      field->is_repeated() ? set->AddMessage(&out, field) : set->MutableMessage(&out, field);
  if (auto* duration = dynamic_cast<google::protobuf::Duration*>(sub)) {
    const std::optional<nanoseconds> read = parse_duration(value.string_value());
    if (!read) {
      return fault(path, fmt::format("a duration such as 30s, 500ms, 5m or 1h is needed, not {}",
                                     shown(value)));
    }
    duration->set_seconds(*read / seconds(1));
    duration->set_nanos(static_cast<std::int32_t>(*read % seconds(1) / nanoseconds(1)));
    return;
  }
  if (auto* time = dynamic_cast<google::protobuf::Timestamp*>(sub)) {
    if (!google::protobuf::util::TimeUtil::FromString(value.string_value(), time)) {
      fault(path,
            fmt::format("a time such as 2027-01-31T12:00:00Z is needed, not {}", shown(value)));
    }
    return;
  }
  if (value.kind_case() != Value::kStructValue) {
    return fault(path, fmt::format("a mapping is needed, not {}", shown(value)));
  }
  if (auto* fields = dynamic_cast<Struct*>(sub)) {
    *fields = value.struct_value();
    return;
  }
  message(value.struct_value(), path, *sub);
}

// ---- the way back

Struct encode(const Message& message);

void set_integer(Value& out, std::uint64_t magnitude, bool negative) {
  if (magnitude > 9007199254740992ULL) {
    out.set_string_value(fmt::format("{}{}", negative ? "-" : "", magnitude));
  } else {
    const auto number = static_cast<double>(magnitude);
    out.set_number_value(negative ? -number : number);
  }
}

void encode_message(const Message& message, Value& out) {
  if (const auto* duration = dynamic_cast<const google::protobuf::Duration*>(&message)) {
    out.set_string_value(
        format_duration(seconds(duration->seconds()) + nanoseconds(duration->nanos())));
  } else if (const auto* time = dynamic_cast<const google::protobuf::Timestamp*>(&message)) {
    out.set_string_value(google::protobuf::util::TimeUtil::ToString(*time));
  } else if (const auto* fields = dynamic_cast<const Struct*>(&message)) {
    *out.mutable_struct_value() = *fields;
  } else {
    *out.mutable_struct_value() = encode(message);
  }
}

// `index` -1: the field is not repeated.
void encode_field(const Message& message, const FieldDescriptor* field, int index, Value& out) {
  const Reflection* get = message.GetReflection();
  const bool many = index >= 0;
  const auto set_signed = [&out](std::int64_t number) {
    const auto bits = static_cast<std::uint64_t>(number);
    set_integer(out, number < 0 ? 0 - bits : bits, number < 0);
  };
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      out.set_string_value(many ? get->GetRepeatedString(message, field, index)
                                : get->GetString(message, field));
      break;
    case FieldDescriptor::CPPTYPE_BOOL:
      out.set_bool_value(many ? get->GetRepeatedBool(message, field, index)
                              : get->GetBool(message, field));
      break;
    case FieldDescriptor::CPPTYPE_INT32:
      set_signed(many ? get->GetRepeatedInt32(message, field, index)
                      : get->GetInt32(message, field));
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      set_signed(many ? get->GetRepeatedInt64(message, field, index)
                      : get->GetInt64(message, field));
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      set_integer(
          out,
          many ? get->GetRepeatedUInt32(message, field, index) : get->GetUInt32(message, field),
          false);
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      set_integer(
          out,
          many ? get->GetRepeatedUInt64(message, field, index) : get->GetUInt64(message, field),
          false);
      break;
    case FieldDescriptor::CPPTYPE_ENUM:
      out.set_string_value(
          (many ? get->GetRepeatedEnum(message, field, index) : get->GetEnum(message, field))
              ->name());
      break;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      encode_message(
          many ? get->GetRepeatedMessage(message, field, index) : get->GetMessage(message, field),
          out);
      break;
    default:
      break;
  }
}

Struct encode(const Message& message) {
  Struct out;
  std::vector<const FieldDescriptor*> set;
  message.GetReflection()->ListFields(message, &set);
  for (const FieldDescriptor* field : set) {
    Value& value = (*out.mutable_fields())[field->name()];
    if (!field->is_repeated()) {
      encode_field(message, field, -1, value);
      continue;
    }
    auto& list = *value.mutable_list_value();
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      encode_field(message, field, i, *list.add_values());
    }
  }
  return out;
}

}  // namespace

Decoded decode(const Manifest& manifest) {
  Decoded decoded;
  const Descriptor* descriptor = spec_descriptor(manifest.kind);
  if (descriptor == nullptr) {
    decoded.faults.push_back(fmt::format("{}kind '{}' is not {}{}", manifest.place("kind"),
                                         manifest.kind, one_of(manifest_kinds()),
                                         did_you_mean(manifest.kind, manifest_kinds())));
    return decoded;
  }
  decoded.message.reset(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  Decoder decoder(manifest);
  decoder.message(manifest.spec, "spec", *decoded.message);
  decoded.faults = std::move(decoder.faults());
  decoded.unread = std::move(decoder.fields());
  return decoded;
}

absl::StatusOr<std::unique_ptr<Message>> to_resource(const Manifest& manifest) {
  Decoded decoded = decode(manifest);
  if (!decoded.faults.empty()) {
    return invalid_argument(fmt::format("{}", fmt::join(decoded.faults, "\n")));
  }
  return std::move(decoded.message);
}

Manifest to_manifest(std::string_view kind, std::string_view name,
                     const std::map<std::string, std::string>& labels, const Message& spec) {
  Manifest manifest;
  manifest.kind = std::string(kind);
  manifest.name = std::string(name);
  manifest.labels = labels;
  manifest.spec = encode(spec);
  return manifest;
}

}  // namespace sluice::config
