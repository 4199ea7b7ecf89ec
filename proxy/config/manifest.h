// Resource files: YAML (JSON is YAML too), one or more documents of
//   kind: Api
//   name: echo-v1
//   labels: {team: a}
//   spec: {...}
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/struct.pb.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/status.h"
#include "proxy/config/source.h"
#include "proxy/config/text.h"

namespace sluice::config {

struct Manifest : Source {
  std::string kind;
  std::string name;
  std::map<std::string, std::string> labels;
  google::protobuf::Struct spec;  // texts where the kind's field is a text, even if written as 1.0
};

// The kinds that a file may hold, in the order in which they are applied.
const std::vector<std::string>& manifest_kinds();

// The message of a kind's spec; null for a kind that does not exist.
const google::protobuf::Descriptor* spec_descriptor(std::string_view kind);

struct ManifestFile {
  std::vector<Manifest> manifests;
  std::vector<std::string> faults;  // FILE:LINE: ...
};

// `file` is for messages. Every fault is told: broken YAML, a key that stands twice, a kind that
// does not exist (the kinds are listed), a name that is none. Documents that cannot be used for
// one are left out.
ManifestFile parse_manifests(std::string_view text, std::string_view file);
// Where one fault spoils the whole: INVALID_ARGUMENT lists them all.
absl::StatusOr<std::vector<Manifest>> whole(ManifestFile file);
// whole() of parse_manifests().
absl::StatusOr<std::vector<Manifest>> load_manifests(std::string_view text, std::string_view file);

// Puts the content of FILE in place of the texts that may stand in a file of their own and are
// written as "@FILE" (relative to the resource file): a Secret's certificate_pem and
// private_key_pem, a User's password (without its line end), and ca of an Upstream's or Api's tls.
// Adds to the faults what cannot be read.
void read_references(ManifestFile& file);

// parse_manifests and read_references. NOT_FOUND or UNAVAILABLE if the file cannot be read.
absl::StatusOr<ManifestFile> parse_manifest_file(const std::string& path);

struct Decoded {
  std::unique_ptr<google::protobuf::Message> message;  // what could be read; null: no such kind
  std::vector<std::string> faults;                     // FILE:LINE: Kind name: field: ...
  std::vector<std::string> unread;                     // their fields
};
Decoded decode(const Manifest& manifest);

// The typed spec, sluice.config.v1.<kind>. INVALID_ARGUMENT lists every fault, one a line, as
// FILE:LINE: Kind name: spec.field: ...; unknown fields come with the nearest known one, durations
// are 30s, 500ms, 5m, 1h.
absl::StatusOr<std::unique_ptr<google::protobuf::Message>> to_resource(const Manifest& manifest);

// The way back, for export: fields with their default left out, durations as text.
Manifest to_manifest(std::string_view kind, std::string_view name,
                     const std::map<std::string, std::string>& labels,
                     const google::protobuf::Message& spec);
// One document, without a leading ---.
std::string to_yaml(const Manifest& manifest);

}  // namespace sluice::config
