// Changes to the desired state: checked whole against a copy in memory, by the domain's rules and
// by the proxies' own compile(), then committed.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "controlplane/model/catalogue.h"
#include "controlplane/model/rules.h"
#include "controlplane/store/store.h"
#include "proxy/config/compile.h"
#include "proxy/filter/registry.h"

namespace sluice::controlplane::api {

struct EditorOptions {
  store::Store& store;                     // outlives the editor
  const filter::FilterRegistry& registry;  // likewise
  std::string organisation = store::kDefaultOrganisation;
  // HOST:PORT of the control plane's ports and the proxies' admin, as far as they are known before
  // the first edit: refused as endpoints.
  std::vector<std::string> own_addresses;
};

// Any thread; one edit at a time. Blocks on the store.
class Editor {
 public:
  // What an edit did, or would do.
  struct Outcome {
    std::int64_t revision = 0;  // the commit's, or the present one if nothing changed
    struct Edit {
      std::optional<model::Resource> before;
      std::optional<model::Resource> now;
    };
    std::map<model::Key, Edit> edits;
  };
  // Puts its wishes into the draft. Called again when somebody else's change came first. Faults
  // that it adds are reported beside those that the checks find.
  using Wish = std::function<absl::Status(model::Draft&, std::vector<model::Fault>&)>;

  // Reads the whole desired state.
  static absl::StatusOr<std::unique_ptr<Editor>> open(EditorOptions options);

  // Adds to the commit what belongs to an edit but is no resource: passwords.
  using Extend = std::function<absl::Status(const Outcome& outcome, store::Commit& commit)>;

  // INVALID_ARGUMENT with every fault, FAILED_PRECONDITION if all there is against it is that
  // something is in use; nothing has changed then. `dry_run`: all but the commit. `extend` (may be
  // null) is called before each try to commit.
  absl::StatusOr<Outcome> edit(const Wish& wish, bool dry_run = false,
                               const Extend& extend = nullptr);

  // Further addresses that are refused as endpoints from now on: ports that were taken meanwhile.
  void add_own_addresses(std::vector<std::string> addresses);

  // Commits these at the first start; later it does nothing.
  absl::Status seed(const std::vector<model::Resource>& resources);

  // Calls `read(catalogue)` on the newest state.
  template <class Read>
  auto read(Read read) {
    std::lock_guard lock(mutex_);
    refresh().IgnoreError();  // a store that cannot be read leaves the state as it was
    return read(static_cast<const model::Catalogue&>(catalogue_));
  }

  // Of the newest compiled state: warnings such as plain text beyond loopback.
  std::shared_ptr<const config::Snapshot> snapshot();

 private:
  explicit Editor(EditorOptions options)
      : options_(std::move(options)),
        own_addresses_(options_.own_addresses),
        snapshot_(config::Snapshot::empty()) {}

  absl::Status load();
  absl::Status refresh();
  absl::Status take(const store::Change& change, config::Delta& delta);
  absl::StatusOr<Outcome> try_edit(const Wish& wish, bool dry_run, const Extend& extend);
  config::CompileResult compile(const model::Draft& draft, config::Delta delta, config::Mode mode);
  std::vector<std::string> faults_of(const model::Draft& draft, std::vector<model::Fault> faults,
                                     std::shared_ptr<const config::Snapshot>& compiled,
                                     bool& only_in_use);
  store::Commit commit_of(const model::Draft& draft) const;

  const EditorOptions options_;
  std::mutex mutex_;  // guards what follows
  std::vector<std::string> own_addresses_;
  filter::SharedState shared_;
  model::Catalogue catalogue_;
  std::shared_ptr<const config::Snapshot> snapshot_;
  std::int64_t seen_ = 0;  // the revision up to which the two are current
};

// Store rows and resources.
absl::StatusOr<model::Resource> resource_of(const store::Row& row);
store::Write write_of(const model::Resource& resource);

}  // namespace sluice::controlplane::api
