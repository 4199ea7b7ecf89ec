#include "controlplane/first_start.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "controlplane/model/defaults.h"
#include "controlplane/pki/files.h"
#include "proxy/base/encoding.h"
#include "proxy/base/log.h"

namespace sluice::controlplane {
namespace {

constexpr std::chrono::hours kDay{24};
constexpr nanoseconds kListenerLife = kDay * 730;
constexpr char kOrganisation[] = "default";
constexpr char kAdmin[] = "admin";

model::Key wss_key() { return {"Secret", "wss-default"}; }

absl::StatusOr<config::v1::Secret> make_wss_secret(const pki::Authority& authority, Wall now) {
  const pki::Subject subject{.names = pki::default_server_names(),
                             .uri = "",
                             .join = "",
                             .server = true,
                             .life = kListenerLife};
  SLUICE_ASSIGN_OR_RETURN(pki::KeyPair pair, authority.issue(subject, now));
  config::v1::Secret secret;
  secret.set_certificate_pem(std::move(pair.certificate_pem));
  secret.set_private_key_pem(std::move(pair.private_key_pem));
  return secret;
}

absl::Status write_new_password(store::Store& store, const std::string& data_dir) {
  const std::string file = admin_password_file(data_dir);
  const std::string password = base64url(random_bytes(18));
  // First the file: a password that nobody can read would lock everybody out.
  SLUICE_RETURN_IF_ERROR(pki::write_file(file, password + "\n", 0600));
  oauth::Users users(store, kOrganisation);
  SLUICE_RETURN_IF_ERROR(users.set_password(kAdmin, password));
  log::info("the password of the user {} is in {}; the file goes when the password is changed",
            kAdmin, file);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DataLock> DataLock::take(const std::string& data_dir) {
  SLUICE_RETURN_IF_ERROR(pki::make_private_directory(data_dir));
  const std::string path = data_dir + "/lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return unavailable(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  }
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return failed_precondition(fmt::format(
        "another sluice-control uses {}; stop it, or give another --data-dir", data_dir));
  }
  return DataLock(fd);
}

DataLock::DataLock(DataLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

DataLock::~DataLock() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

std::string admin_password_file(const std::string& data_dir) {
  return data_dir + "/admin-password";
}

absl::Status prepare_resources(api::Editor& editor, const pki::Authority& authority, Wall now) {
  struct Found {
    bool empty;
    std::optional<model::Resource> secret;
  };
  const Found found = editor.read([](const model::Catalogue& catalogue) -> Found {
    const model::Resource* secret = catalogue.find(wss_key());
    return {catalogue.all("GatewayGroup").empty(),
            secret == nullptr ? std::nullopt : std::optional(*secret)};
  });
  if (found.empty) {
    SLUICE_ASSIGN_OR_RETURN(const config::v1::Secret secret, make_wss_secret(authority, now));
    return editor.seed(model::first_resources(secret));
  }
  if (!found.secret) {
    return absl::OkStatus();
  }
  const std::string& pem = found.secret->as<config::v1::Secret>().certificate_pem();
  const std::string& ca = authority.certificate_pem();
  if (!pki::issued_by(pem, ca) || !pki::needs_renewal(pem, ca, pki::default_server_names(), now)) {
    return absl::OkStatus();
  }
  SLUICE_ASSIGN_OR_RETURN(const config::v1::Secret secret, make_wss_secret(authority, now));
  log::info("the certificate of the Secret wss-default is made anew");
  return editor
      .edit([&](model::Draft& draft, std::vector<model::Fault>&) {
        if (const model::Resource* present = draft.find(wss_key())) {
          model::Resource renewed = *present;
          renewed.spec = std::make_shared<config::v1::Secret>(secret);
          draft.put(std::move(renewed));
        }
        return absl::OkStatus();
      })
      .status();
}

absl::Status prepare_admin(store::Store& store, const std::string& data_dir) {
  oauth::Users users(store, kOrganisation);
  SLUICE_ASSIGN_OR_RETURN(const bool has_password, users.has_password(kAdmin));
  const absl::Status exists = store.get(kOrganisation, "User", kAdmin).status();
  if (has_password || absl::IsNotFound(exists)) {
    return absl::OkStatus();
  }
  SLUICE_RETURN_IF_ERROR(exists);
  const char* given = std::getenv("SLUICE_ADMIN_PASSWORD");
  if (given == nullptr || *given == '\0') {
    return write_new_password(store, data_dir);
  }
  if (const absl::Status status = users.set_password(kAdmin, given); !status.ok()) {
    return absl::Status(status.code(),
                        to_absl(fmt::format("SLUICE_ADMIN_PASSWORD: {}", message_of(status))));
  }
  log::info("the password of the user {} is that of SLUICE_ADMIN_PASSWORD", kAdmin);
  return absl::OkStatus();
}

absl::Status reset_admin_password(store::Store& store, const std::string& data_dir) {
  const absl::Status exists = store.get(kOrganisation, "User", kAdmin).status();
  if (absl::IsNotFound(exists)) {
    store::Write write{
        .kind = "User", .name = kAdmin, .spec = config::v1::User().SerializeAsString()};
    SLUICE_RETURN_IF_ERROR(store.commit(kOrganisation, {std::move(write)}).status());
  } else if (!exists.ok()) {
    return exists;
  }
  return write_new_password(store, data_dir);
}

}  // namespace sluice::controlplane
