#include "proxy/sync/resource.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "proxy/base/encoding.h"
#include "proxy/config/resource.h"

namespace sluice::sync {

const std::vector<ResourceType>& sluice_types() {
  using config::Kind;
  const auto url = [](Kind kind) { return std::string(config::type_url(kind)); };
  static const auto& types = *new std::vector<ResourceType>{
      {url(Kind::kSecret), true, true},    // referred to by listeners
      {url(Kind::kUpstream), true, true},  // by APIs
      {url(Kind::kPlan), true, true},      // by APIs
      {url(Kind::kListener), false, true},
      {url(Kind::kApi), false, true},
      {url(Kind::kToken), false, false},   // far too many for a wildcard
      {url(Kind::kGrants), false, false},
  };
  return types;
}

std::string deterministic_bytes(const google::protobuf::MessageLite& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

std::string content_version(std::string_view bytes, char epoch) {
  const Sha256 hash = sha256(bytes);
  const std::string_view head(reinterpret_cast<const char*>(hash.data()), 12);
  return epoch + base64url(head).substr(0, 14);
}

ResourcePtr make_resource(std::string name, const google::protobuf::MessageLite& message) {
  auto resource = std::make_shared<Resource>();
  resource->name = std::move(name);
  resource->bytes = deterministic_bytes(message);
  resource->version = content_version(resource->bytes);
  return resource;
}

}  // namespace sluice::sync
