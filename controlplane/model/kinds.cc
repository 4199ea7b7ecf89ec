#include "controlplane/model/kinds.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/message_differencer.h>

#include "proxy/base/check.h"
#include "sluice/admin/v1/resources.pb.h"
#include "sluice/config/v1/config.pb.h"

namespace sluice::controlplane::model {
namespace {

using google::protobuf::FieldDescriptor;

template <class Resource, class Spec>
Kind kind_of(std::string name, std::string field) {
  Kind kind;
  kind.name = std::move(name);
  kind.field = std::move(field);
  kind.resource = Resource::descriptor();
  kind.spec = Spec::descriptor();
  return kind;
}

std::vector<Kind> make_kinds() {
  std::vector<Kind> kinds;
  kinds.push_back(kind_of<admin::v1::User, config::v1::User>("User", "user"));
  kinds.back().write_only = {"password"};

  kinds.push_back(
      kind_of<admin::v1::GatewayGroup, config::v1::GatewayGroup>("GatewayGroup", "gateway_group"));

  kinds.push_back(kind_of<admin::v1::Secret, config::v1::Secret>("Secret", "secret"));
  kinds.back().write_only = {"private_key_pem"};
  kinds.back().kept = {"private_key_pem"};

  kinds.push_back(kind_of<admin::v1::Upstream, config::v1::Upstream>("Upstream", "upstream"));
  kinds.back().references = {{"tls.client_certificate", "Secret", "", "", OnCascade::kDelete}};

  kinds.push_back(kind_of<admin::v1::Plan, config::v1::Plan>("Plan", "plan"));

  kinds.push_back(kind_of<admin::v1::Listener, config::v1::Listener>("Listener", "listener"));
  kinds.back().references = {{"tls.secret", "Secret", "", "", OnCascade::kDelete},
                             {"group", "GatewayGroup", "default", "", OnCascade::kDelete}};

  kinds.push_back(kind_of<admin::v1::Api, config::v1::Api>("Api", "api"));
  kinds.back().immutable = {"context", "version"};
  kinds.back().kept = {"state"};
  kinds.back().references = {
      {"endpoints.production", "Upstream", "", "upstream:", OnCascade::kStrip},
      {"endpoints.sandbox", "Upstream", "", "upstream:", OnCascade::kStrip},
      {"plans", "Plan", "", "", OnCascade::kStrip},
      {"api_plan", "Plan", "Unlimited", "", OnCascade::kDelete},
      {"groups", "GatewayGroup", "default", "", OnCascade::kStripOrDelete}};

  kinds.push_back(
      kind_of<admin::v1::Application, config::v1::Application>("Application", "application"));
  kinds.back().kept = {"status", "owner"};
  kinds.back().references = {{"plan", "Plan", "Unlimited", "", OnCascade::kDelete}};

  kinds.push_back(
      kind_of<admin::v1::Subscription, config::v1::Subscription>("Subscription", "subscription"));
  kinds.back().immutable = {"application", "api"};
  kinds.back().kept = {"status"};
  kinds.back().composed_name = true;
  kinds.back().references = {{"application", "Application", "", "", OnCascade::kDelete},
                             {"api", "Api", "", "", OnCascade::kDelete},
                             {"plan", "Plan", "", "", OnCascade::kDelete}};

  kinds.push_back(
      kind_of<admin::v1::Credential, config::v1::Credential>("Credential", "credential"));
  kinds.back().write_only = {"secret_sha256"};
  kinds.back().immutable = {"application", "key_type"};
  kinds.back().kept = {"consumer_key", "secret_sha256"};
  kinds.back().composed_name = true;
  kinds.back().references = {{"application", "Application", "", "", OnCascade::kDelete}};
  return kinds;
}

const FieldDescriptor* field_of(const Message& message, const std::string& name) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  SLUICE_CHECK(field != nullptr);
  return field;
}

}  // namespace

std::unique_ptr<Message> Kind::new_spec() const {
  return std::unique_ptr<Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(spec)->New());
}

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = make_kinds();
  return all;
}

const Kind* find_kind(std::string_view name) {
  for (const Kind& kind : kinds()) {
    if (kind.name == name) {
      return &kind;
    }
  }
  return nullptr;
}

bool is_set(const Message& spec, const std::string& field) {
  const FieldDescriptor* descriptor = field_of(spec, field);
  const auto* reflection = spec.GetReflection();
  return descriptor->is_repeated() ? reflection->FieldSize(spec, descriptor) > 0
                                   : reflection->HasField(spec, descriptor);
}

void clear_field(Message& spec, const std::string& field) {
  spec.GetReflection()->ClearField(&spec, field_of(spec, field));
}

void copy_field(const Message& from, Message& to, const std::string& field) {
  // All but this one field are cleared in a copy, which is then merged.
  std::unique_ptr<Message> only(from.New());
  only->CopyFrom(from);
  std::vector<const FieldDescriptor*> set;
  only->GetReflection()->ListFields(*only, &set);
  for (const FieldDescriptor* descriptor : set) {
    if (descriptor->name() != field) {
      only->GetReflection()->ClearField(only.get(), descriptor);
    }
  }
  clear_field(to, field);
  to.MergeFrom(*only);
}

bool same_field(const Message& a, const Message& b, const std::string& field) {
  std::unique_ptr<Message> left(a.New());
  std::unique_ptr<Message> right(a.New());
  copy_field(a, *left, field);
  copy_field(b, *right, field);
  return google::protobuf::util::MessageDifferencer::Equals(*left, *right);
}

void blank_write_only(const Kind& kind, Message& spec) {
  for (const std::string& field : kind.write_only) {
    clear_field(spec, field);
  }
}

std::string serialise(const Message& spec) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  {
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    spec.SerializeToCodedStream(&coded);
  }
  return bytes;
}

}  // namespace sluice::controlplane::model
