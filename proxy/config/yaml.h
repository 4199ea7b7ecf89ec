// YAML to google.protobuf.Struct and back, with line numbers; guided by a message's descriptor, so
// that `version: 1.0` stays the text that the field is. For manifest*.cc only.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/struct.pb.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <string>
#include <vector>

namespace sluice::config {

// What was wrong, by line.
struct YamlFault {
  int line = 0;
  std::string message;
};

class YamlReader {
 public:
  // Both are added to; `lines` is by path.
  YamlReader(std::vector<YamlFault>& faults, std::map<std::string, int>& lines)
      : faults_(faults), lines_(lines) {}

  // `descriptor` may be null: nothing is known about the fields.
  void read_map(const YAML::Node& node, const google::protobuf::Descriptor* descriptor,
                const std::string& path, google::protobuf::Struct& out);

 private:
  void read_value(const YAML::Node& node, const google::protobuf::FieldDescriptor* field,
                  const std::string& path, google::protobuf::Value& out);
  void read_scalar(const YAML::Node& node, const google::protobuf::FieldDescriptor* field,
                   google::protobuf::Value& out);

  std::vector<YamlFault>& faults_;
  std::map<std::string, int>& lines_;
  int depth_ = 0;
};

// One from 1 on; 0 if unknown.
inline int line_of(const YAML::Node& node) {
  const YAML::Mark mark = node.Mark();
  return mark.is_null() ? 0 : mark.line + 1;
}

// One mapping, its keys in the order of `descriptor` (null: by name).
void emit(YAML::Emitter& out, const google::protobuf::Struct& fields,
          const google::protobuf::Descriptor* descriptor);

}  // namespace sluice::config
