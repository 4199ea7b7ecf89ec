#include "controlplane/api/reflect.h"

#include "proxy/base/check.h"
#include "sluice/admin/v1/resources.pb.h"

namespace sluice::controlplane::api {
namespace {

using google::protobuf::FieldDescriptor;
using model::Message;

const FieldDescriptor* field_of(const Message& message, const std::string& name) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  SLUICE_CHECK(field != nullptr);
  return field;
}

}  // namespace

std::string get_string(const Message& message, const std::string& field) {
  return message.GetReflection()->GetString(message, field_of(message, field));
}

std::int64_t get_integer(const Message& message, const std::string& field) {
  const FieldDescriptor* descriptor = field_of(message, field);
  return descriptor->cpp_type() == FieldDescriptor::CPPTYPE_INT32
             ? message.GetReflection()->GetInt32(message, descriptor)
             : message.GetReflection()->GetInt64(message, descriptor);
}

bool get_bool(const Message& message, const std::string& field) {
  return message.GetReflection()->GetBool(message, field_of(message, field));
}

void set_string(Message& message, const std::string& field, const std::string& value) {
  message.GetReflection()->SetString(&message, field_of(message, field), value);
}

void set_integer(Message& message, const std::string& field, std::int64_t value) {
  message.GetReflection()->SetInt64(&message, field_of(message, field), value);
}

bool has_message(const Message& message, const std::string& field) {
  return message.GetReflection()->HasField(message, field_of(message, field));
}

const Message& get_message(const Message& message, const std::string& field) {
  return message.GetReflection()->GetMessage(message, field_of(message, field));
}

Message* mutable_message(Message& message, const std::string& field) {
  return message.GetReflection()->MutableMessage(&message, field_of(message, field));
}

Message* add_message(Message& message, const std::string& field) {
  return message.GetReflection()->AddMessage(&message, field_of(message, field));
}

google::protobuf::Timestamp timestamp_of_ms(std::int64_t ms) {
  google::protobuf::Timestamp time;
  time.set_seconds(ms / 1000);
  time.set_nanos(static_cast<std::int32_t>(ms % 1000) * 1'000'000);
  return time;
}

void fill_resource(const model::Kind& kind, const model::Resource& resource, Message& out) {
  set_string(out, "name", resource.key.name);
  Message* spec = mutable_message(out, "spec");
  spec->CopyFrom(*resource.spec);
  model::blank_write_only(kind, *spec);
  auto* meta = static_cast<admin::v1::Meta*>(mutable_message(out, "meta"));
  meta->mutable_labels()->insert(resource.labels.begin(), resource.labels.end());
  meta->set_revision(resource.revision);
  *meta->mutable_create_time() = timestamp_of_ms(resource.create_ms);
  *meta->mutable_update_time() = timestamp_of_ms(resource.update_ms);
}

model::Resource read_resource(const model::Kind& kind, const Message& in, std::int64_t& revision) {
  model::Resource resource;
  resource.key = {kind.name, get_string(in, "name")};
  std::unique_ptr<Message> spec = kind.new_spec();
  spec->CopyFrom(get_message(in, "spec"));
  resource.spec = std::move(spec);
  const auto& meta = static_cast<const admin::v1::Meta&>(get_message(in, "meta"));
  resource.labels = {meta.labels().begin(), meta.labels().end()};
  revision = meta.revision();
  return resource;
}

}  // namespace sluice::controlplane::api
