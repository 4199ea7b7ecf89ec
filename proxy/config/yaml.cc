#include "proxy/config/yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>

namespace sluice::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Struct;
using google::protobuf::Value;

constexpr int kDepthMax = 32;
constexpr int kFieldsMax = 1 << 20;  // more than any message has

// The message that a mapping under this field is, as far as it has fields of its own.
const Descriptor* message_of_field(const FieldDescriptor* field) {
  if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE ||
      field->is_map() || field->message_type()->file()->package() == "google.protobuf") {
    return nullptr;
  }
  return field->message_type();
}

bool wants_text(const FieldDescriptor* field) {
  return field != nullptr && (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING ||
                              field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM);
}

// YAML 1.2 core schema, decimal only; what is none is text.
std::optional<double> as_number(const std::string& text) {
  if (text.empty() || text.find_first_not_of("0123456789+-.eE") != std::string::npos ||
      text.find_first_of("0123456789") == std::string::npos) {
    return std::nullopt;
  }
  const char* begin = text.data() + (text.front() == '+' ? 1 : 0);
  const char* end = text.data() + text.size();
  double number = 0;
  const auto [rest, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || rest != end || !std::isfinite(number)) {
    return std::nullopt;
  }
  return number;
}

bool needs_quotes(const std::string& text) {
  const std::set<std::string> words = {"",     "~",    "null",  "Null",  "NULL",  "true",
                                       "True", "TRUE", "false", "False", "FALSE", "yes",
                                       "no",   "on",   "off",   "y",     "n"};
  return words.count(text) > 0 || as_number(text).has_value();
}

}  // namespace

void YamlReader::read_scalar(const YAML::Node& node, const FieldDescriptor* field, Value& out) {
  const std::string& text = node.Scalar();
  // A tag of "!" is a quoted text.
  if (node.Tag() == "!" || wants_text(field)) {
    out.set_string_value(text);
  } else if (text == "true" || text == "True" || text == "TRUE") {
    out.set_bool_value(true);
  } else if (text == "false" || text == "False" || text == "FALSE") {
    out.set_bool_value(false);
  } else if (const std::optional<double> number = as_number(text)) {
    // A number that a double cannot hold exactly travels as text, as 64-bit numbers do in JSON.
    if (std::fabs(*number) > 9007199254740992.0) {
      out.set_string_value(text);
    } else {
      out.set_number_value(*number);
    }
  } else {
    out.set_string_value(text);
  }
}

void YamlReader::read_value(const YAML::Node& node, const FieldDescriptor* field,
                            const std::string& path, Value& out) {
  lines_[path] = line_of(node);
  if (++depth_ > kDepthMax) {
    faults_.push_back(
        {line_of(node), fmt::format("{}: more than {} levels deep", path, kDepthMax)});
  } else if (node.IsMap()) {
    read_map(node, message_of_field(field), path, *out.mutable_struct_value());
  } else if (node.IsSequence()) {
    auto& list = *out.mutable_list_value();
    for (std::size_t i = 0; i < node.size(); ++i) {
      read_value(node[i], field, fmt::format("{}[{}]", path, i), *list.add_values());
    }
  } else if (node.IsScalar()) {
    read_scalar(node, field, out);
  } else {
    out.set_null_value(google::protobuf::NULL_VALUE);
  }
  --depth_;
}

void YamlReader::read_map(const YAML::Node& node, const Descriptor* descriptor,
                          const std::string& path, Struct& out) {
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) {
      faults_.push_back({line_of(entry.first), fmt::format("{}: a key must be a word", path)});
      continue;
    }
    const std::string& key = entry.first.Scalar();
    const std::string field_path = fmt::format("{}.{}", path, key);
    if (out.fields().contains(key)) {
      faults_.push_back({line_of(entry.first), fmt::format("{} stands twice", field_path)});
      continue;
    }
    const FieldDescriptor* field =
        descriptor == nullptr ? nullptr : descriptor->FindFieldByName(key);
    read_value(entry.second, field, field_path, (*out.mutable_fields())[key]);
    lines_[field_path] = line_of(entry.first);
  }
}

namespace {

// A block keeps one line end; what it would change is quoted instead.
bool fits_a_block(const std::string& text) {
  return text.size() > 1 && text.back() == '\n' && text[text.size() - 2] != '\n' &&
         text.find_first_of(" \n\t") != 0 &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return c >= ' ' || c == '\n'; });
}

void emit_value(YAML::Emitter& out, const Value& value, const FieldDescriptor* field) {
  switch (value.kind_case()) {
    case Value::kStringValue:
      if (value.string_value().find('\n') != std::string::npos) {
        out << (fits_a_block(value.string_value()) ? YAML::Literal : YAML::DoubleQuoted)
            << value.string_value();
      } else if (needs_quotes(value.string_value())) {
        out << YAML::DoubleQuoted << value.string_value();
      } else {
        out << value.string_value();
      }
      break;
    case Value::kNumberValue:
      out << fmt::format("{}", value.number_value());
      break;
    case Value::kBoolValue:
      out << (value.bool_value() ? "true" : "false");
      break;
    case Value::kListValue:
      out << YAML::BeginSeq;
      for (const Value& item : value.list_value().values()) {
        emit_value(out, item, field);
      }
      out << YAML::EndSeq;
      break;
    case Value::kStructValue:
      emit(out, value.struct_value(), message_of_field(field));
      break;
    default:
      out << YAML::Null;
  }
}

}  // namespace

void emit(YAML::Emitter& out, const Struct& fields, const Descriptor* descriptor) {
  const auto field_of = [descriptor](const std::string& key) {
    return descriptor == nullptr ? nullptr : descriptor->FindFieldByName(key);
  };
  // As in the message; what is not in it comes after, by name.
  const auto rank = [&](const std::string& key) {
    const FieldDescriptor* field = field_of(key);
    return std::pair(field == nullptr ? kFieldsMax : field->index(), key);
  };
  std::vector<std::string> keys;
  for (const auto& [key, value] : fields.fields()) {
    keys.push_back(key);
  }
  std::sort(keys.begin(), keys.end(),
            [&](const std::string& a, const std::string& b) { return rank(a) < rank(b); });
  out << YAML::BeginMap;
  for (const std::string& key : keys) {
    out << YAML::Key << key << YAML::Value;
    emit_value(out, fields.fields().at(key), field_of(key));
  }
  out << YAML::EndMap;
}

}  // namespace sluice::config
