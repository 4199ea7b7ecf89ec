// Single fields of generated messages by name, for what is written once for all kinds.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>

#include "controlplane/model/catalogue.h"
#include "controlplane/model/kinds.h"

namespace sluice::controlplane::api {

// The field must exist: a bug of ours if not.
std::string get_string(const model::Message& message, const std::string& field);
std::int64_t get_integer(const model::Message& message, const std::string& field);
bool get_bool(const model::Message& message, const std::string& field);
void set_string(model::Message& message, const std::string& field, const std::string& value);
void set_integer(model::Message& message, const std::string& field, std::int64_t value);
bool has_message(const model::Message& message, const std::string& field);
const model::Message& get_message(const model::Message& message, const std::string& field);
model::Message* mutable_message(model::Message& message, const std::string& field);
model::Message* add_message(model::Message& message, const std::string& field);

google::protobuf::Timestamp timestamp_of_ms(std::int64_t ms);

// Fills sluice.admin.v1.<kind> (name, spec without write-only fields, meta).
void fill_resource(const model::Kind& kind, const model::Resource& resource, model::Message& out);
// Takes name, spec and labels; `revision` is what the caller has seen (0: nothing said).
model::Resource read_resource(const model::Kind& kind, const model::Message& in,
                              std::int64_t& revision);

}  // namespace sluice::controlplane::api
