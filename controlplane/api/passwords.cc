#include "controlplane/api/passwords.h"

#include <fmt/format.h>

#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::api {
namespace {

constexpr std::size_t kPasswordBytesMin = 8;
constexpr std::size_t kPasswordBytesMax = 1024;

}  // namespace

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
  if (password.size() < kPasswordBytesMin || password.size() > kPasswordBytesMax) {
    faults.push_back({resource.key, "spec.password",
                      fmt::format("must have {} to {} bytes", kPasswordBytesMin, kPasswordBytesMax),
                      false});
  }
  wanted_[resource.key.name] = password;
}

absl::Status Passwords::settle(oauth::Users& users, const Editor::Outcome& outcome) const {
  for (const auto& [user, password] : wanted_) {
    SLUICE_ASSIGN_OR_RETURN(const bool same, users.password_is(user, password));
    if (!same) {
      SLUICE_RETURN_IF_ERROR(users.set_password(user, password));
    }
  }
  for (const auto& [key, edit] : outcome.edits) {
    if (key.kind == "User" && !edit.now) {
      SLUICE_RETURN_IF_ERROR(users.remove(key.name));
    }
  }
  return absl::OkStatus();
}

}  // namespace sluice::controlplane::api
