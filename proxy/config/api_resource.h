// Which of an HTTP API's resources a request is for.
#pragma once

#include <string>
#include <string_view>

#include "proxy/model/resources.h"

namespace sluice::config {

struct ResourceMatch {
  enum class Kind : std::uint8_t {
    kFound,     // `resource` is set, or the API has none and serves everything
    kNoPath,    // 404
    kNoMethod,  // 405; `allowed` is set
  };
  Kind kind = Kind::kFound;
  const model::ApiResource* resource = nullptr;  // lives in the API
  std::string allowed;                           // methods that the path has, for Allow
};

// `topic`: the normalised path below context and version, "" or "/...". A trailing slash is not
// told apart. Where GET is allowed, so is HEAD.
ResourceMatch find_resource(const model::Api& api, std::string_view method,
                            std::string_view topic);

}  // namespace sluice::config
