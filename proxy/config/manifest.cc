#include "proxy/config/manifest.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

#include "proxy/base/limits.h"
#include "proxy/config/yaml.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::config {
namespace {

const std::vector<std::string> kDocumentKeys = {"kind", "name", "labels", "spec"};

// Collects the faults of one file.
struct FileFaults {
  std::string_view file;
  std::vector<std::string> list;
  std::map<std::string, int> seen;  // kind and name -> line

  void add(int line, std::string_view message) {
    list.push_back(line > 0 ? fmt::format("{}:{}: {}", file, line, message)
                            : fmt::format("{}: {}", file, message));
  }
};

std::string text_field(const google::protobuf::Struct& spec, const char* name) {
  const auto it = spec.fields().find(name);
  return it == spec.fields().end() ? "" : it->second.string_value();
}

// The name that a kind's spec makes, for kinds whose name is composed.
std::string composed_name(const Manifest& manifest) {
  if (manifest.kind == "Subscription") {
    return fmt::format("{}:{}", text_field(manifest.spec, "application"),
                       text_field(manifest.spec, "api"));
  }
  if (manifest.kind == "Credential") {
    return fmt::format("{}:{}", text_field(manifest.spec, "application"),
                       text_field(manifest.spec, "key_type"));
  }
  return manifest.kind == "Token" ? text_field(manifest.spec, "sha256") : "";
}

// Empty if the name is well formed.
std::string name_fault(Manifest& manifest) {
  const std::string composed = composed_name(manifest);
  if (composed.empty()) {
    return is_name(manifest.name) ? "" : fmt::format("name '{}': {}", manifest.name, kNameRule);
  }
  if (manifest.name.empty()) {
    manifest.name = composed;
  }
  return manifest.name == composed
             ? ""
             : fmt::format("name '{}' must be left out, or be {}", manifest.name, composed);
}

void read_labels(const YAML::Node& node, Manifest& manifest, FileFaults& faults) {
  if (!node || node.IsNull()) {
    return;
  }
  if (!node.IsMap()) {
    return faults.add(line_of(node), "labels: a mapping of names to texts is needed");
  }
  for (const auto& entry : node) {
    if (!entry.first.IsScalar() || !entry.second.IsScalar()) {
      faults.add(line_of(entry.first), "labels: names and values must be texts");
    } else if (!is_name(entry.first.Scalar())) {
      faults.add(line_of(entry.first),
                 fmt::format("labels: '{}': {}", entry.first.Scalar(), kNameRule));
    } else if (!manifest.labels.emplace(entry.first.Scalar(), entry.second.Scalar()).second) {
      faults.add(line_of(entry.first),
                 fmt::format("labels: {} stands twice", entry.first.Scalar()));
    }
  }
}

// The document's own keys, each once.
bool check_keys(const YAML::Node& document, FileFaults& faults) {
  std::set<std::string> seen;
  const std::size_t before = faults.list.size();
  for (const auto& entry : document) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (std::find(kDocumentKeys.begin(), kDocumentKeys.end(), key) == kDocumentKeys.end()) {
      faults.add(line_of(entry.first), fmt::format("'{}' is not {}{}", key, one_of(kDocumentKeys),
                                                   did_you_mean(key, kDocumentKeys)));
    } else if (!seen.insert(key).second) {
      faults.add(line_of(entry.first), fmt::format("{} stands twice", key));
    }
  }
  return faults.list.size() == before;
}

std::string scalar(const YAML::Node& node) { return node && node.IsScalar() ? node.Scalar() : ""; }

void read_document(const YAML::Node& document, std::vector<Manifest>& out, FileFaults& faults) {
  if (!document || document.IsNull()) {
    return;
  }
  if (!document.IsMap()) {
    return faults.add(line_of(document), "a document is a mapping with kind, name and spec");
  }
  if (!check_keys(document, faults)) {
    return;
  }
  Manifest manifest;
  manifest.file = std::string(faults.file);
  manifest.line = line_of(document);
  manifest.kind = scalar(document["kind"]);
  manifest.name = scalar(document["name"]);
  const google::protobuf::Descriptor* descriptor = spec_descriptor(manifest.kind);
  if (descriptor == nullptr) {
    return faults.add(document["kind"] ? line_of(document["kind"]) : manifest.line,
                      fmt::format("kind '{}' is not {}{}", manifest.kind, one_of(manifest_kinds()),
                                  did_you_mean(manifest.kind, manifest_kinds())));
  }
  std::string head = fmt::format("{} {}: ", manifest.kind, manifest.name);
  read_labels(document["labels"], manifest, faults);
  const YAML::Node spec = document["spec"];
  if (spec && !spec.IsNull() && !spec.IsMap()) {
    return faults.add(line_of(spec), head + "spec: a mapping is needed");
  }
  if (spec && spec.IsMap()) {
    std::vector<YamlFault> yaml_faults;
    YamlReader(yaml_faults, manifest.lines).read_map(spec, descriptor, "spec", manifest.spec);
    for (const YamlFault& fault : yaml_faults) {
      faults.add(fault.line, head + fault.message);
    }
  }
  if (const std::string fault = name_fault(manifest); !fault.empty()) {
    return faults.add(document["name"] ? line_of(document["name"]) : manifest.line,
                      fmt::format("{}: {}", manifest.kind, fault));
  }
  head = fmt::format("{} {}: ", manifest.kind, manifest.name);  // a composed name is known now
  const auto [first, added] = faults.seen.emplace(head, manifest.line);
  if (!added) {
    return faults.add(manifest.line,
                      fmt::format("{}stands in line {} already", head, first->second));
  }
  out.push_back(std::move(manifest));
}

std::string block(const google::protobuf::Struct& fields) {
  YAML::Emitter out;
  emit(out, fields, nullptr);
  return std::string(out.c_str()) + "\n";
}

}  // namespace

std::string Source::place(std::string_view field) const {
  // The nearest thing around the field whose line is known.
  for (std::string_view path = field; line > 0 && !path.empty();) {
    if (const auto it = lines.find(std::string(path)); it != lines.end() && it->second > 0) {
      return fmt::format("{}:{}: ", file, it->second);
    }
    const std::size_t end = path.find_last_of(".[");
    path = path.substr(0, end == std::string_view::npos ? 0 : end);
  }
  if (file.empty()) {
    return "";
  }
  return line > 0 ? fmt::format("{}:{}: ", file, line) : file + ": ";
}

const std::vector<std::string>& manifest_kinds() {
  static const std::vector<std::string> kinds = {
      "GatewayGroup", "Secret",       "Upstream",   "Plan",  "Listener", "Api",
      "Application",  "Subscription", "Credential", "Token", "User"};
  return kinds;
}

const google::protobuf::Descriptor* spec_descriptor(std::string_view kind) {
  const std::vector<std::string>& kinds = manifest_kinds();
  if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
    return nullptr;
  }
  return v1::Api::descriptor()->file()->FindMessageTypeByName(std::string(kind));
}

bool Source::is_unread(std::string_view field) const {
  const auto within = [](std::string_view inner, std::string_view outer) {
    return inner.starts_with(outer) && (inner.size() == outer.size() ||
                                        inner[outer.size()] == '.' || inner[outer.size()] == '[');
  };
  return std::any_of(unread.begin(), unread.end(), [&](const std::string& one) {
    return within(field, one) || within(one, field);
  });
}

ManifestFile parse_manifests(std::string_view text, std::string_view file) {
  FileFaults faults{file, {}, {}};
  std::vector<Manifest> manifests;
  if (text.size() > limits::kResourceFileBytesMax) {
    faults.add(0, fmt::format("is larger than {} bytes", limits::kResourceFileBytesMax));
    return {{}, std::move(faults.list)};
  }
  // yaml-cpp reports by exceptions; none leaves here.
  try {
    for (const YAML::Node& document : YAML::LoadAll(std::string(text))) {
      read_document(document, manifests, faults);
    }
  } catch (const YAML::Exception& error) {
    faults.add(error.mark.is_null() ? 0 : error.mark.line + 1,
               fmt::format("is no YAML: {}", error.msg));
  }
  return {std::move(manifests), std::move(faults.list)};
}

absl::StatusOr<std::vector<Manifest>> whole(ManifestFile file) {
  if (!file.faults.empty()) {
    return invalid_argument(fmt::format("{}", fmt::join(file.faults, "\n")));
  }
  return std::move(file.manifests);
}

absl::StatusOr<std::vector<Manifest>> load_manifests(std::string_view text, std::string_view file) {
  return whole(parse_manifests(text, file));
}

std::string to_yaml(const Manifest& manifest) {
  YAML::Emitter spec;
  spec << YAML::BeginMap << YAML::Key << "spec" << YAML::Value;
  emit(spec, manifest.spec, spec_descriptor(manifest.kind));
  spec << YAML::EndMap;
  google::protobuf::Struct name;
  (*name.mutable_fields())["name"].set_string_value(manifest.name);
  google::protobuf::Struct labels;
  for (const auto& [key, value] : manifest.labels) {
    (*(*labels.mutable_fields())["labels"].mutable_struct_value()->mutable_fields())[key]
        .set_string_value(value);
  }
  return fmt::format("kind: {}\n{}{}{}\n", manifest.kind, block(name),
                     manifest.labels.empty() ? "" : block(labels), spec.c_str());
}

}  // namespace sluice::config
