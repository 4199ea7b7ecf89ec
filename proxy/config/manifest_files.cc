// What manifests have to do with the file system.
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "proxy/config/manifest.h"

namespace sluice::config {
namespace {

using google::protobuf::Value;

struct Reference {
  std::string_view kind;
  std::vector<std::string> path;  // below spec
  bool one_line = false;
};

const std::vector<Reference>& references() {
  static const std::vector<Reference> all = {
      {"Secret", {"certificate_pem"}},     {"Secret", {"private_key_pem"}},
      {"User", {"password"}, true},        {"Upstream", {"tls", "ca"}},
      {"Api", {"endpoints", "tls", "ca"}},
  };
  return all;
}

// Null if the field is not there.
Value* find(google::protobuf::Struct& spec, const std::vector<std::string>& path) {
  google::protobuf::Struct* at = &spec;
  for (std::size_t i = 0;; ++i) {
    const auto it = at->mutable_fields()->find(path[i]);
    if (it == at->mutable_fields()->end()) {
      return nullptr;
    }
    if (i + 1 == path.size()) {
      return &it->second;
    }
    at = it->second.mutable_struct_value();
  }
}

absl::StatusOr<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const int error = errno;
  std::ostringstream text;
  if (in && in.peek() != std::ifstream::traits_type::eof()) {
    text << in.rdbuf();
  }
  if (in.bad() || !in.is_open() || text.fail()) {
    const std::string message = fmt::format("{} cannot be read: {}", path, std::strerror(error));
    return error == ENOENT ? not_found(message) : unavailable(message);
  }
  return text.str();
}

std::string field_of(const Reference& reference) {
  return fmt::format("spec.{}", fmt::join(reference.path, "."));
}

}  // namespace

void read_references(ManifestFile& parsed) {
  for (Manifest& manifest : parsed.manifests) {
    for (const Reference& reference : references()) {
      Value* value =
          reference.kind == manifest.kind ? find(manifest.spec, reference.path) : nullptr;
      if (value == nullptr || !value->string_value().starts_with('@')) {
        continue;
      }
      const std::filesystem::path file =
          std::filesystem::path(manifest.file).parent_path() / value->string_value().substr(1);
      absl::StatusOr<std::string> content = read_file(file.string());
      if (!content.ok()) {
        const std::string field = field_of(reference);
        parsed.faults.push_back(fmt::format("{}{} {}: {}: {}", manifest.place(field), manifest.kind,
                                            manifest.name, field, message_of(content.status())));
        manifest.unread.insert(field);
        continue;
      }
      while (reference.one_line && (content->ends_with('\n') || content->ends_with('\r'))) {
        content->pop_back();
      }
      value->set_string_value(*std::move(content));
    }
  }
}

absl::StatusOr<ManifestFile> parse_manifest_file(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_file(path));
  ManifestFile parsed = parse_manifests(text, path);
  read_references(parsed);
  return parsed;
}

}  // namespace sluice::config
