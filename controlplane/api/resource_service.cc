// Apply, Diff and Export: the whole desired state, or part of it, as manifests.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "controlplane/api/differences.h"
#include "controlplane/api/passwords.h"
#include "controlplane/api/services.h"
#include "proxy/config/manifest.h"

namespace sluice::controlplane::api {
namespace {

using admin::v1::Change;
using Manifests = google::protobuf::RepeatedPtrField<admin::v1::Manifest>;

constexpr char kOwnerLabel[] = "owner";

config::Manifest manifest_of(const admin::v1::Manifest& in) {
  config::Manifest manifest;
  manifest.kind = in.kind();
  manifest.name = in.name();
  manifest.labels = {in.labels().begin(), in.labels().end()};
  manifest.spec = in.spec();
  const std::size_t colon = in.source().rfind(':');
  manifest.file = in.source().substr(0, colon);
  if (colon != std::string::npos) {
    const char* end = in.source().data() + in.source().size();
    std::from_chars(in.source().data() + colon + 1, end, manifest.line);
  }
  return manifest;
}

// One set of manifests on its way into the state.
class ApplyRun {
 public:
  ApplyRun(Services& services, const std::string& user) : services_(services), user_(user) {}

  // INVALID_ARGUMENT lists every manifest that cannot be read.
  absl::Status read(const Manifests& manifests, const std::string& owner);
  absl::StatusOr<Editor::Outcome> run(bool prune, const std::string& owner, bool dry_run);
  // What the outcome did to each manifest, and what it pruned, in order of kinds.
  std::vector<Change> changes(const Editor::Outcome& outcome) const;

 private:
  void read_one(const admin::v1::Manifest& in, const std::string& owner,
                std::vector<std::string>& faults);
  absl::Status wish(model::Draft& draft, std::vector<model::Fault>& faults, bool prune,
                    const std::string& owner);
  void prune(model::Draft& draft, const std::string& owner) const;
  absl::Status with_places(const absl::Status& status) const;

  struct Given {
    model::Resource resource;
    std::string source;
  };

  Services& services_;
  const std::string user_;
  std::vector<Given> given_;
  std::map<model::Key, std::string> sources_;  // after run(): those of the manifests
  Passwords passwords_;
};

void ApplyRun::read_one(const admin::v1::Manifest& in, const std::string& owner,
                        std::vector<std::string>& faults) {
  const std::string place = in.source().empty() ? "" : in.source() + ": ";
  if (model::find_kind(in.kind()) == nullptr) {
    std::vector<std::string> kinds;
    for (const model::Kind& kind : model::kinds()) {
      kinds.push_back(kind.name);
    }
    faults.push_back(fmt::format("{}kind '{}' is none that can be applied; these are {}", place,
                                 in.kind(), fmt::join(kinds, ", ")));
    return;
  }
  auto spec = config::to_resource(manifest_of(in));
  if (!spec.ok()) {
    faults.emplace_back(message_of(spec.status()));
    return;
  }
  Given given;
  given.resource.key = {in.kind(), in.name()};
  given.resource.spec = *std::move(spec);
  given.resource.labels = {in.labels().begin(), in.labels().end()};
  if (!owner.empty()) {
    given.resource.labels[kOwnerLabel] = owner;
  }
  given.source = in.source();
  given_.push_back(std::move(given));
}

absl::Status ApplyRun::read(const Manifests& manifests, const std::string& owner) {
  std::vector<std::string> faults;
  for (const admin::v1::Manifest& manifest : manifests) {
    read_one(manifest, owner, faults);
  }
  return faults.empty() ? absl::OkStatus()
                        : invalid_argument(fmt::format("{}", fmt::join(faults, "\n")));
}

absl::StatusOr<Editor::Outcome> ApplyRun::run(bool prune, const std::string& owner, bool dry_run) {
  if (prune && owner.empty()) {
    return invalid_argument("owner: is required to prune; it says whose resources may be deleted");
  }
  const auto wished = [&](model::Draft& draft, std::vector<model::Fault>& faults) {
    return wish(draft, faults, prune, owner);
  };
  absl::StatusOr<Editor::Outcome> outcome =
      services_.editor.edit(wished, dry_run, Passwords::extend(passwords_, services_.users));
  if (!outcome.ok()) {
    return with_places(outcome.status());
  }
  passwords_.settled(services_.users);
  return outcome;
}

absl::Status ApplyRun::wish(model::Draft& draft, std::vector<model::Fault>& faults, bool prune,
                            const std::string& owner) {
  sources_.clear();
  passwords_ = {};
  for (const Given& given : given_) {
    model::Resource resource = given.resource;
    std::vector<model::Fault> prepared = model::prepare(draft, resource, user_);
    passwords_.take(resource, faults);
    faults.insert(faults.end(), prepared.begin(), prepared.end());
    if (!sources_.emplace(resource.key, given.source).second) {
      faults.push_back({resource.key, "", "stands twice among the manifests", false});
      continue;
    }
    draft.put(std::move(resource));
  }
  if (prune) {
    this->prune(draft, owner);
  }
  return absl::OkStatus();
}

void ApplyRun::prune(model::Draft& draft, const std::string& owner) const {
  std::vector<model::Key> doomed;
  for (const model::Kind& kind : model::kinds()) {
    draft.each(kind.name, [&](const model::Resource& resource) {
      const auto label = resource.labels.find(kOwnerLabel);
      if (label != resource.labels.end() && label->second == owner &&
          sources_.count(resource.key) == 0) {
        doomed.push_back(resource.key);
      }
    });
  }
  for (const model::Key& key : doomed) {
    draft.erase(key);
  }
}

// Puts FILE:LINE before each line that is about a manifest's resource.
absl::Status ApplyRun::with_places(const absl::Status& status) const {
  std::string text;
  std::string_view rest = message_of(status);
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    text += text.empty() ? "" : "\n";
    for (const auto& [key, source] : sources_) {
      if (!source.empty() && line.starts_with(fmt::format("{} {}: ", key.kind, key.name))) {
        text += source + ": ";
      }
    }
    text += line;
  }
  return absl::Status(status.code(), text);
}

std::vector<Change> ApplyRun::changes(const Editor::Outcome& outcome) const {
  std::set<model::Key> keys;
  for (const auto& [key, source] : sources_) {
    keys.insert(key);
  }
  for (const auto& [key, edit] : outcome.edits) {
    keys.insert(key);
  }
  std::vector<Change> changes;
  for (const model::Kind& kind : model::kinds()) {
    for (auto key = keys.lower_bound({kind.name, ""}); key != keys.end() && key->kind == kind.name;
         ++key) {
      Change change;
      change.set_kind(key->kind);
      change.set_name(key->name);
      const auto edit = outcome.edits.find(*key);
      if (edit == outcome.edits.end()) {
        change.set_action(Change::UNCHANGED);
      } else if (!edit->second.now) {
        change.set_action(Change::DELETED);
      } else if (!edit->second.before) {
        change.set_action(Change::CREATED);
      } else {
        change.set_action(Change::UPDATED);
        for (std::string& line : differences(kind, *edit->second.before, *edit->second.now)) {
          change.add_differences(std::move(line));
        }
      }
      changes.push_back(std::move(change));
    }
  }
  return changes;
}

absl::StatusOr<admin::v1::ApplyResponse> apply(Services& services, const CallContext& context,
                                               const admin::v1::ApplyRequest& request) {
  ApplyRun run(services, context.user);
  SLUICE_RETURN_IF_ERROR(run.read(request.manifests(), request.owner()));
  SLUICE_ASSIGN_OR_RETURN(const Editor::Outcome outcome,
                          run.run(request.prune(), request.owner(), request.dry_run()));
  admin::v1::ApplyResponse response;
  response.set_revision(outcome.revision);
  for (Change& change : run.changes(outcome)) {
    *response.add_changes() = std::move(change);
  }
  return response;
}

absl::StatusOr<admin::v1::DiffResponse> diff(Services& services, const CallContext& context,
                                             const admin::v1::DiffRequest& request) {
  ApplyRun run(services, context.user);
  SLUICE_RETURN_IF_ERROR(run.read(request.manifests(), request.owner()));
  SLUICE_ASSIGN_OR_RETURN(const Editor::Outcome outcome,
                          run.run(request.prune(), request.owner(), true));
  admin::v1::DiffResponse response;
  for (Change& change : run.changes(outcome)) {
    *response.add_changes() = std::move(change);
  }
  return response;
}

absl::StatusOr<admin::v1::ExportResponse> export_all(Services& services,
                                                     const admin::v1::ExportRequest& request) {
  for (const std::string& kind : request.kinds()) {
    if (model::find_kind(kind) == nullptr) {
      return invalid_argument(fmt::format("kinds: there is no kind {}", kind));
    }
  }
  return services.editor.read([&](const model::Catalogue& catalogue) {
    admin::v1::ExportResponse response;
    for (const model::Kind& kind : model::kinds()) {
      const auto& wanted = request.kinds();
      if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), kind.name) == wanted.end()) {
        continue;
      }
      for (const auto& [name, resource] : catalogue.all(kind.name)) {
        std::unique_ptr<model::Message> spec = kind.new_spec();
        spec->CopyFrom(*resource.spec);
        model::blank_write_only(kind, *spec);
        config::Manifest manifest = config::to_manifest(kind.name, name, resource.labels, *spec);
        admin::v1::Manifest& out = *response.add_manifests();
        out.set_kind(kind.name);
        out.set_name(name);
        out.mutable_labels()->insert(resource.labels.begin(), resource.labels.end());
        *out.mutable_spec() = std::move(manifest.spec);
      }
    }
    return response;
  });
}

}  // namespace

void add_resource_service(ServiceTable& table, Services& services) {
  table.add<admin::v1::ApplyRequest>(
      "sluice.admin.v1.ResourceService.Apply", {},
      [&services](const CallContext& context, const admin::v1::ApplyRequest& request) {
        return apply(services, context, request);
      });
  table.add<admin::v1::DiffRequest>(
      "sluice.admin.v1.ResourceService.Diff", {},
      [&services](const CallContext& context, const admin::v1::DiffRequest& request) {
        return diff(services, context, request);
      });
  table.add<admin::v1::ExportRequest>(
      "sluice.admin.v1.ResourceService.Export", {},
      [&services](const CallContext&, const admin::v1::ExportRequest& request) {
        return export_all(services, request);
      });
}

}  // namespace sluice::controlplane::api
