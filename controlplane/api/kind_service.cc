// Get, List, Create, Update and Delete of every kind, written once over the descriptors.
#include <fmt/format.h>

#include <algorithm>

#include "controlplane/api/passwords.h"
#include "controlplane/api/reflect.h"
#include "controlplane/api/services.h"
#include "controlplane/model/limits.h"
#include "proxy/base/encoding.h"

namespace sluice::controlplane::api {
namespace {

std::unique_ptr<Message> new_response(const model::Kind& kind, const char* method) {
  const std::string name = fmt::format("sluice.admin.v1.{}{}Response", method, kind.name);
  const auto* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  return std::unique_ptr<Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
}

// The five methods of one kind.
class KindService {
 public:
  KindService(const model::Kind& kind, Services& services) : kind_(kind), services_(services) {}

  Answer get(const Message& request) const;
  Answer list(const Message& request) const;
  Answer create(const CallContext& context, const Message& request) const;
  Answer update(const CallContext& context, const Message& request) const;
  Answer erase(const Message& request) const;

 private:
  Answer put(const CallContext& context, const Message& request, const char* method,
             bool create) const;
  absl::Status check_place(const model::Draft& draft, const model::Resource& resource, bool create,
                           std::int64_t seen) const;

  const model::Kind& kind_;
  Services& services_;
};

Answer KindService::get(const Message& request) const {
  const std::string name = get_string(request, "name");
  SLUICE_ASSIGN_OR_RETURN(const store::Row row,
                          services_.store.get(services_.organisation, kind_.name, name));
  SLUICE_ASSIGN_OR_RETURN(const model::Resource resource, resource_of(row));
  std::unique_ptr<Message> response(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(kind_.resource)->New());
  fill_resource(kind_, resource, *response);
  return response;
}

Answer KindService::list(const Message& request) const {
  const std::int64_t size = get_integer(request, "page_size");
  if (size < 0) {
    return invalid_argument("page_size: must not be negative");
  }
  const std::string token = get_string(request, "page_token");
  const std::optional<std::string> after = from_base64(token);
  if (!after) {
    return invalid_argument("page_token: is not one that an answer gave");
  }
  store::ListOptions options;
  options.after = *after;
  options.limit =
      size == 0 ? limits::kPageDefault : std::min(static_cast<std::size_t>(size), limits::kPageMax);
  const std::size_t page = options.limit;
  ++options.limit;  // whether there is a next page
  SLUICE_ASSIGN_OR_RETURN(std::vector<store::Row> rows,
                          services_.store.list(services_.organisation, kind_.name, options));
  std::unique_ptr<Message> response = new_response(kind_, "List");
  if (rows.size() > page) {
    rows.pop_back();
    set_string(*response, "next_page_token", base64(rows.back().name));
  }
  for (const store::Row& row : rows) {
    SLUICE_ASSIGN_OR_RETURN(const model::Resource resource, resource_of(row));
    fill_resource(kind_, resource, *add_message(*response, "items"));
  }
  return response;
}

Answer KindService::create(const CallContext& context, const Message& request) const {
  return put(context, request, "Create", true);
}

Answer KindService::update(const CallContext& context, const Message& request) const {
  return put(context, request, "Update", false);
}

absl::Status KindService::check_place(const model::Draft& draft, const model::Resource& resource,
                                      bool create, std::int64_t seen) const {
  const model::Resource* old = draft.find(resource.key);
  if (create) {
    return old == nullptr ? absl::OkStatus()
                          : absl::AlreadyExistsError(
                                fmt::format("{} {} exists already", kind_.name, resource.key.name));
  }
  if (old == nullptr) {
    return not_found(fmt::format("{0} {1} does not exist; `sluicectl get {0}` lists what does",
                                 kind_.name, resource.key.name));
  }
  if (seen != 0 && seen != old->revision) {
    return failed_precondition(fmt::format(
        "{} {} was changed meanwhile: it is at revision {}, you have seen {}; get it again",
        kind_.name, resource.key.name, old->revision, seen));
  }
  return absl::OkStatus();
}

Answer KindService::put(const CallContext& context, const Message& request, const char* method,
                        bool create) const {
  if (!has_message(request, kind_.field)) {
    return invalid_argument(fmt::format("{}: is required", kind_.field));
  }
  std::int64_t seen = 0;
  const model::Resource given = read_resource(kind_, get_message(request, kind_.field), seen);
  Passwords passwords;
  model::Key key;
  const auto wish = [&](model::Draft& draft, std::vector<model::Fault>& faults) -> absl::Status {
    model::Resource resource = given;
    passwords = {};
    passwords.take(resource, faults);
    std::vector<model::Fault> prepared = model::prepare(draft, resource, context.user);
    faults.insert(faults.end(), prepared.begin(), prepared.end());
    key = resource.key;
    SLUICE_RETURN_IF_ERROR(check_place(draft, resource, create, seen));
    const model::Resource* old = draft.find(resource.key);
    if (old != nullptr && resource.labels.empty()) {
      resource.labels = old->labels;
    }
    draft.put(std::move(resource));
    return absl::OkStatus();
  };
  SLUICE_ASSIGN_OR_RETURN(
      const Editor::Outcome outcome,
      services_.editor.edit(wish, false, Passwords::extend(passwords, services_.users)));
  passwords.settled(services_.users);
  SLUICE_ASSIGN_OR_RETURN(const store::Row row,
                          services_.store.get(services_.organisation, kind_.name, key.name));
  SLUICE_ASSIGN_OR_RETURN(const model::Resource resource, resource_of(row));
  std::unique_ptr<Message> response = new_response(kind_, method);
  fill_resource(kind_, resource, *mutable_message(*response, kind_.field));
  set_integer(*response, "revision", outcome.revision);
  return response;
}

Answer KindService::erase(const Message& request) const {
  const model::Key key{kind_.name, get_string(request, "name")};
  const bool cascade = get_bool(request, "cascade");
  const auto wish = [&](model::Draft& draft, std::vector<model::Fault>&) {
    return model::erase(draft, key, cascade);
  };
  Passwords none;
  SLUICE_ASSIGN_OR_RETURN(
      const Editor::Outcome outcome,
      services_.editor.edit(wish, false, Passwords::extend(none, services_.users)));
  std::unique_ptr<Message> response = new_response(kind_, "Delete");
  set_integer(*response, "revision", outcome.revision);
  return response;
}

}  // namespace

void add_kind_services(ServiceTable& table, Services& services) {
  for (const model::Kind& kind : model::kinds()) {
    const auto service = std::make_shared<const KindService>(kind, services);
    const auto name = [&kind](const char* method) {
      return fmt::format("sluice.admin.v1.{0}Service.{1}{0}", kind.name, method);
    };
    table.add(name("Get"), {}, [service](const CallContext&, const Message& request) {
      return service->get(request);
    });
    table.add(name("List"), {}, [service](const CallContext&, const Message& request) {
      return service->list(request);
    });
    table.add(name("Create"), {}, [service](const CallContext& context, const Message& request) {
      return service->create(context, request);
    });
    table.add(name("Update"), {}, [service](const CallContext& context, const Message& request) {
      return service->update(context, request);
    });
    table.add(name("Delete"), {}, [service](const CallContext&, const Message& request) {
      return service->erase(request);
    });
  }
}

}  // namespace sluice::controlplane::api
