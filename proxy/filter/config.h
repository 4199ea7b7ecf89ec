// The one place where a filter's settings (google.protobuf.Struct) become its own message. Included
// by filters' sources only.
#pragma once

#include <string>
#include <utility>

#include "google/protobuf/message.h"
#include "google/protobuf/struct.pb.h"
#include "proxy/base/status.h"
#include "proxy/filter/registry.h"

namespace sluice::filter {

// Fills `message` from `config`, which is its JSON form. INVALID_ARGUMENT names the path of a field
// that the message does not have or whose value has the wrong type.
absl::Status decode_config(const google::protobuf::Struct& config,
                           google::protobuf::Message& message);

// Registers a filter: `make` is called as
//   absl::StatusOr<std::shared_ptr<const FilterFactory>>(const Message& config, SharedState&).
template <class Message, class Make>
void add_filter(FilterRegistry& registry, std::string name, Make make) {
  registry.add(std::move(name),
               [make](const google::protobuf::Struct& config,
                      SharedState& shared) -> absl::StatusOr<std::shared_ptr<const FilterFactory>> {
                 Message message;
                 SLUICE_RETURN_IF_ERROR(decode_config(config, message));
                 return make(message, shared);
               });
}

}  // namespace sluice::filter
