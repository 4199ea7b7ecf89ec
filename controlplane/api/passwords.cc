#include "controlplane/api/passwords.h"

#include <fmt/format.h>

#include "controlplane/model/limits.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::api {
void Passwords::take(model::Resource& resource, std::vector<model::Fault>& faults) {
  if (resource.key.kind != "User") {
    return;
  }
  auto spec = std::make_shared<config::v1::User>(resource.as<config::v1::User>());
  const std::string password = spec->password();
  spec->clear_password();
  resource.spec = std::move(spec);
  if (password.empty()) {
    return;
  }
  if (password.size() < limits::kPasswordBytesMin || password.size() > limits::kPasswordBytesMax) {
    faults.push_back({resource.key, "spec.password",
                      fmt::format("must have {} to {} bytes", limits::kPasswordBytesMin,
                                  limits::kPasswordBytesMax),
                      false});
  }
  wanted_[resource.key.name] = password;
}

Editor::Extend Passwords::extend(Passwords& passwords, oauth::Users& users) {
  return
      [&passwords, &users](const Editor::Outcome& outcome, store::Commit& commit) -> absl::Status {
        passwords.changed_.clear();
        for (const auto& [user, password] : passwords.wanted_) {
          SLUICE_ASSIGN_OR_RETURN(const bool same, users.password_is(user, password));
          if (!same) {
            SLUICE_RETURN_IF_ERROR(users.add_password(user, password, commit));
            passwords.changed_.push_back(user);
          }
        }
        for (const auto& [key, edit] : outcome.edits) {
          if (key.kind == "User" && !edit.now) {
            oauth::Users::add_removal(key.name, commit);
          }
        }
        return absl::OkStatus();
      };
}

void Passwords::settled(oauth::Users& users) const {
  for (const std::string& user : changed_) {
    users.password_changed(user);
  }
}

}  // namespace sluice::controlplane::api
