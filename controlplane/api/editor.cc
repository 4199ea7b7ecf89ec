#include "controlplane/api/editor.h"

#include <fmt/format.h>

#include <algorithm>

#include "controlplane/model/limits.h"
#include "proxy/base/log.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::api {
namespace {

std::optional<config::ResourceKey> compiled_key(const model::Key& key) {
  const std::optional<config::Kind> kind = config::kind_from_name(key.kind);
  if (!kind || *kind > config::Kind::kApi) {
    return std::nullopt;
  }
  return config::ResourceKey{*kind, key.name};
}

void add_to(config::Delta& delta, const model::Key& key, const model::Resource* now) {
  const std::optional<config::ResourceKey> compiled = compiled_key(key);
  if (!compiled) {
    return;
  }
  if (now == nullptr) {
    delta.removals.push_back(*compiled);
  } else {
    delta.upserts.push_back({compiled->kind, key.name, "", model::serialise(*now->spec)});
  }
}

config::Delta delta_of(const model::Draft& draft) {
  config::Delta delta;
  for (const auto& [key, edit] : draft.edits()) {
    add_to(delta, key, edit.now ? &*edit.now : nullptr);
  }
  return delta;
}

bool allows_local(const model::Resource* group) {
  return group != nullptr && group->as<config::v1::GatewayGroup>().allow_local_endpoints();
}

// Whether a changed group no longer accepts endpoints that its APIs may have.
bool closes_local(const model::Draft& draft) {
  for (const auto& [key, edit] : draft.edits()) {
    if (key.kind == "GatewayGroup" && edit.now && allows_local(draft.before(key)) &&
        !allows_local(&*edit.now)) {
      return true;
    }
  }
  return false;
}

bool in_use_already_said(const std::vector<model::Fault>& faults, const config::Fault& fault) {
  const model::Key key{std::string(config::kind_name(fault.kind)), fault.name};
  return std::any_of(faults.begin(), faults.end(),
                     [&](const model::Fault& other) { return other.in_use && other.key == key; });
}

std::string join_lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) {
    text += (text.empty() ? "" : "\n") + line;
  }
  return text;
}

}  // namespace

absl::StatusOr<model::Resource> resource_of(const store::Row& row) {
  const model::Kind* kind = model::find_kind(row.kind);
  if (kind == nullptr) {
    return internal_error(fmt::format("the store holds a {}, a kind that is not known", row.kind));
  }
  std::unique_ptr<model::Message> spec = kind->new_spec();
  if (!spec->ParseFromString(row.spec)) {
    return internal_error(fmt::format("the stored {} {} cannot be read", row.kind, row.name));
  }
  model::Resource resource;
  resource.key = {row.kind, row.name};
  resource.spec = std::move(spec);
  resource.labels = row.labels;
  resource.revision = row.revision;
  resource.create_ms = row.create_ms;
  resource.update_ms = row.update_ms;
  return resource;
}

store::Write write_of(const model::Resource& resource) {
  store::Write write;
  write.kind = resource.key.kind;
  write.name = resource.key.name;
  write.spec = model::serialise(*resource.spec);
  write.labels = resource.labels;
  return write;
}

absl::StatusOr<std::unique_ptr<Editor>> Editor::open(EditorOptions options) {
  std::unique_ptr<Editor> editor(new Editor(std::move(options)));
  SLUICE_RETURN_IF_ERROR(editor->load());
  return editor;
}

absl::Status Editor::load() {
  // Read before the rows: what comes meanwhile is then taken twice, not missed.
  const std::int64_t revision = options_.store.revision(options_.organisation);
  model::Catalogue catalogue;
  for (const model::Kind& kind : model::kinds()) {
    SLUICE_ASSIGN_OR_RETURN(const std::vector<store::Row> rows,
                            options_.store.all(options_.organisation, kind.name));
    for (const store::Row& row : rows) {
      SLUICE_ASSIGN_OR_RETURN(model::Resource resource, resource_of(row));
      catalogue.put(std::move(resource));
    }
  }
  catalogue_ = std::move(catalogue);
  config::Delta delta;
  for (const model::Kind& kind : model::kinds()) {
    for (const auto& [name, resource] : catalogue_.all(kind.name)) {
      add_to(delta, resource.key, &resource);
    }
  }
  config::add_removals(delta, *snapshot_);
  const model::Draft none(catalogue_);
  config::CompileResult result = compile(none, std::move(delta), config::Mode::kPerResource);
  for (const config::Fault& fault : result.faults) {
    log::warning("a stored resource does not compile: {}", fault.text());
  }
  snapshot_ = std::move(result.snapshot);
  seen_ = revision;
  return absl::OkStatus();
}

// Takes what others committed: key generation, another control plane on the same database.
absl::Status Editor::refresh() {
  config::Delta delta;
  while (options_.store.revision(options_.organisation) > seen_) {
    const std::int64_t revision = options_.store.revision(options_.organisation);
    const auto changes = options_.store.changes(
        options_.organisation, seen_, limits::kEditorChangesBatch, store::FeedPart::kResources);
    if (absl::IsOutOfRange(changes.status())) {
      return load();
    }
    SLUICE_RETURN_IF_ERROR(changes.status());
    for (const store::Change& change : *changes) {
      SLUICE_RETURN_IF_ERROR(take(change, delta));
    }
    // Fewer than asked for: that was all up to `revision` at least.
    const std::int64_t last = changes->empty() ? 0 : changes->back().revision;
    seen_ = changes->size() < limits::kEditorChangesBatch ? std::max(revision, last) : last;
  }
  if (!delta.empty()) {
    const model::Draft none(catalogue_);
    snapshot_ = compile(none, std::move(delta), config::Mode::kPerResource).snapshot;
  }
  return absl::OkStatus();
}

absl::Status Editor::take(const store::Change& change, config::Delta& delta) {
  const model::Key key{change.kind, change.name};
  absl::StatusOr<store::Row> row =
      options_.store.get(options_.organisation, change.kind, change.name);
  if (!row.ok() && !absl::IsNotFound(row.status())) {
    return row.status();
  }
  if (const auto compiled = compiled_key(key)) {
    // The same key may come twice: its newest state counts.
    std::erase_if(delta.upserts, [&](const auto& other) { return other.key() == *compiled; });
    std::erase(delta.removals, *compiled);
  }
  if (!row.ok()) {
    catalogue_.erase(key);
    add_to(delta, key, nullptr);
    return absl::OkStatus();
  }
  SLUICE_ASSIGN_OR_RETURN(model::Resource resource, resource_of(*row));
  add_to(delta, key, &resource);
  catalogue_.put(std::move(resource));
  return absl::OkStatus();
}

void Editor::add_own_addresses(std::vector<std::string> addresses) {
  std::lock_guard lock(mutex_);
  std::move(addresses.begin(), addresses.end(), std::back_inserter(own_addresses_));
}

absl::StatusOr<Editor::Outcome> Editor::edit(const Wish& wish, bool dry_run, const Extend& extend) {
  std::lock_guard lock(mutex_);
  absl::StatusOr<Outcome> outcome;
  for (int i = 0; i < limits::kEditAttempts; ++i) {
    SLUICE_RETURN_IF_ERROR(refresh());
    outcome = try_edit(wish, dry_run, extend);
    if (!absl::IsAborted(outcome.status())) {
      break;
    }
  }
  return outcome;
}

absl::StatusOr<Editor::Outcome> Editor::try_edit(const Wish& wish, bool dry_run,
                                                 const Extend& extend) {
  model::Draft draft(catalogue_);
  std::vector<model::Fault> wished;
  SLUICE_RETURN_IF_ERROR(wish(draft, wished));
  std::shared_ptr<const config::Snapshot> compiled;
  bool only_in_use = true;
  const std::vector<std::string> faults =
      faults_of(draft, std::move(wished), compiled, only_in_use);
  if (!faults.empty()) {
    const std::string text = join_lines(faults);
    return only_in_use ? failed_precondition(text) : invalid_argument(text);
  }
  Outcome outcome;
  outcome.revision = seen_;
  for (const auto& [key, edit] : draft.edits()) {
    Outcome::Edit& done = outcome.edits[key];
    done.now = edit.now;
    if (const model::Resource* before = draft.before(key)) {
      done.before = *before;
    }
  }
  if (dry_run) {
    return outcome;
  }
  store::Commit commit = commit_of(draft);
  if (extend != nullptr) {
    SLUICE_RETURN_IF_ERROR(extend(outcome, commit));
  }
  if (outcome.edits.empty() && commit.documents.empty()) {
    return outcome;
  }
  SLUICE_ASSIGN_OR_RETURN(const std::int64_t revision,
                          options_.store.commit(options_.organisation, std::move(commit)));
  if (outcome.edits.empty()) {
    return outcome;
  }
  outcome.revision = revision;
  const std::int64_t now_ms = to_ms(system_wall());
  for (auto& [key, edit] : outcome.edits) {
    if (edit.now) {
      edit.now->revision = outcome.revision;
      edit.now->update_ms = now_ms;
      edit.now->create_ms = edit.before ? edit.before->create_ms : now_ms;
      catalogue_.put(*edit.now);
    } else {
      catalogue_.erase(key);
    }
  }
  snapshot_ = std::move(compiled);
  seen_ = outcome.revision;  // nothing but tokens came in between: unchanged_since
  return outcome;
}

config::CompileResult Editor::compile(const model::Draft& draft, config::Delta delta,
                                      config::Mode mode) {
  const config::CompileContext context{
      options_.registry,
      shared_,
      mode,
      [&draft](std::string_view group) {
        return allows_local(draft.find({"GatewayGroup", std::string(group)}));
      },
      own_addresses_,
      {}};
  std::shared_ptr<const config::Snapshot> base = snapshot_;
  if (closes_local(draft)) {
    // An API that has not changed is not looked at again: so all are taken out and put in.
    config::Delta out;
    config::Delta in = delta;
    draft.each("Api", [&](const model::Resource& api) {
      if (draft.before(api.key) != nullptr) {
        out.removals.push_back({config::Kind::kApi, api.key.name});
      }
      if (draft.edits().count(api.key) == 0) {
        add_to(in, api.key, &api);
      }
    });
    base = config::compile(base, out, context).snapshot;
    delta = std::move(in);
  }
  return config::compile(std::move(base), delta, context);
}

std::vector<std::string> Editor::faults_of(const model::Draft& draft,
                                           std::vector<model::Fault> faults,
                                           std::shared_ptr<const config::Snapshot>& compiled,
                                           bool& only_in_use) {
  std::vector<model::Fault> checked = model::check(draft);
  faults.insert(faults.end(), std::make_move_iterator(checked.begin()),
                std::make_move_iterator(checked.end()));
  config::CompileResult result = compile(draft, delta_of(draft), config::Mode::kAllOrNothing);
  compiled = std::move(result.snapshot);
  std::vector<std::string> lines;
  for (const model::Fault& fault : faults) {
    only_in_use = only_in_use && fault.in_use;
    lines.push_back(fault.text());
  }
  for (const config::Fault& fault : result.faults) {
    if (!in_use_already_said(faults, fault)) {
      only_in_use = false;
      // A name that is no name is said by both.
      if (std::string line = fault.text();
          std::find(lines.begin(), lines.end(), line) == lines.end()) {
        lines.push_back(std::move(line));
      }
    }
  }
  return lines;
}

store::Commit Editor::commit_of(const model::Draft& draft) const {
  store::Commit commit;
  commit.unchanged_since = seen_;
  for (const auto& [key, edit] : draft.edits()) {
    if (edit.now) {
      commit.writes.push_back(write_of(*edit.now));
      if (key.kind == "Application" && draft.before(key) == nullptr) {
        // Tokens of an earlier application of this name do not come to life again.
        commit.end_tokens.push_back({key.name});
      }
      continue;
    }
    store::Write drop;
    drop.kind = key.kind;
    drop.name = key.name;
    commit.writes.push_back(std::move(drop));
    if (key.kind == "Application") {
      commit.end_tokens.push_back({key.name, "", false});
    } else if (key.kind == "Credential") {
      const auto& credential = draft.before(key)->as<config::v1::Credential>();
      // Where the application goes too, its tokens say that.
      if (draft.find({"Application", credential.application()}) != nullptr) {
        commit.end_tokens.push_back({credential.application(), key.name});
      }
    }
  }
  return commit;
}

absl::Status Editor::seed(const std::vector<model::Resource>& resources) {
  const auto put_all = [&](model::Draft& draft, std::vector<model::Fault>&) -> absl::Status {
    if (draft.find({"GatewayGroup", model::kDefaultGroup}) != nullptr) {
      return absl::OkStatus();  // it is never deleted: this was done before
    }
    for (const model::Resource& resource : resources) {
      draft.put(resource);
    }
    return absl::OkStatus();
  };
  return edit(put_all).status();
}

std::shared_ptr<const config::Snapshot> Editor::snapshot() {
  std::lock_guard lock(mutex_);
  refresh().IgnoreError();
  return snapshot_;
}

}  // namespace sluice::controlplane::api
