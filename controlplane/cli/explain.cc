#include "controlplane/cli/explain.h"

#include <fmt/core.h>

#include <sstream>
#include <vector>

#include "controlplane/cli/kinds.h"

namespace sluice::controlplane::cli {
namespace {

struct Field {
  std::string type;
  std::string name;
  std::string comment;
};

struct Message {
  std::string comment;
  std::vector<Field> fields;
  std::vector<std::string> values;  // of an enum
};

// Reads one message or enum of config.proto by its lines: comments stand above what they explain.
class Reader {
 public:
  explicit Reader(std::string_view name) : name_(name) {}

  Message read() {
    std::istringstream in{std::string(config_proto())};
    for (std::string line; std::getline(in, line);) {
      take(trim(line));
    }
    return std::move(message_);
  }

 private:
  static std::string trim(const std::string& line) {
    const std::size_t begin = line.find_first_not_of(' ');
    return begin == std::string::npos ? "" : line.substr(begin);
  }

  void take(const std::string& line) {
    if (line.starts_with("//")) {
      comment_ += (comment_.empty() ? "" : " ") + trim(line.substr(2));
      return;
    }
    const bool opens = line.ends_with("{");
    if (opens && (line == "message " + name_ + " {" || line == "enum " + name_ + " {")) {
      inside_ = depth_ + 1;
      message_.comment = comment_;
    } else if (inside_ > 0 && inside_ == depth_ && !opens &&
               line.find(" = ") != std::string::npos) {
      add(line);
    }
    comment_.clear();
    depth_ += opens ? 1 : 0;
    if (line == "}") {
      inside_ = inside_ == depth_ ? 0 : inside_;
      --depth_;
    }
  }

  void add(const std::string& line) {
    const std::string left = line.substr(0, line.find(" = "));
    const std::size_t space = left.rfind(' ');
    if (space == std::string::npos) {
      if (!left.ends_with("_UNSPECIFIED")) {
        message_.values.push_back(left);
      }
      return;
    }
    message_.fields.push_back({left.substr(0, space), left.substr(space + 1), comment_});
  }

  std::string name_;
  Message message_;
  std::string comment_;
  int depth_ = 0;
  int inside_ = 0;
};

// What a type is called in a file.
std::string shown_type(const std::string& type) {
  if (type.starts_with("repeated ")) {
    return "list of " + shown_type(type.substr(9));
  }
  if (type == "google.protobuf.Duration") {
    return "duration";
  }
  if (type == "google.protobuf.Timestamp") {
    return "time";
  }
  if (type == "google.protobuf.Struct") {
    return "map";
  }
  if (type == "uint32" || type == "uint64") {
    return "number";
  }
  return type == "bool" ? "true or false" : type == "string" ? "text" : type;
}

std::string plain_type(std::string type) {
  return type.starts_with("repeated ") ? type.substr(9) : type;
}

std::string describe(const std::string& title, const Message& message) {
  std::string out = fmt::format("{}\n", title);
  if (!message.comment.empty()) {
    out += fmt::format("  {}\n", message.comment);
  }
  for (const std::string& value : message.values) {
    out += fmt::format("  {}\n", value);
  }
  for (const Field& field : message.fields) {
    out += fmt::format("\n  {}  ({})\n", field.name, shown_type(field.type));
    if (!field.comment.empty()) {
      out += fmt::format("      {}\n", field.comment);
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<std::string> explain(std::string_view path) {
  const std::size_t dot = std::min(path.find('.'), path.size());
  std::string word(path.substr(0, dot));
  std::string type;
  if (word == "Token" || word == "token") {
    type = "Token";
  } else {
    SLUICE_ASSIGN_OR_RETURN(const KindView* kind, find_kind(word));
    type = kind->name;
  }
  std::string title = type;
  path.remove_prefix(std::min(dot + 1, path.size()));
  Message message = Reader(type).read();
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('.'), path.size());
    const std::string_view name = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (name == "spec") {
      continue;
    }
    const Field* found = nullptr;
    std::string known;
    for (const Field& field : message.fields) {
      found = field.name == name ? &field : found;
      known += (known.empty() ? "" : ", ") + field.name;
    }
    if (found == nullptr) {
      return not_found(fmt::format("{} has no field {}; it has {}", title, name, known));
    }
    const Field field = *found;
    title += fmt::format(".{}  ({})", field.name, shown_type(field.type));
    message = Reader(plain_type(field.type)).read();
    message.comment = field.comment;
  }
  return describe(title, message);
}

}  // namespace sluice::controlplane::cli
