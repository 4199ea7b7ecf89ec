// Where a resource stands in a file, so that messages can say it.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace sluice::config {

struct Source {
  std::string file;
  int line = 0;                      // where the document begins; 0: unknown
  std::map<std::string, int> lines;  // spec.endpoints.production[0] -> line

  // FILE:LINE: of the field, or of the nearest thing around it; "" if nothing is known.
  std::string place(std::string_view field) const;
};

}  // namespace sluice::config
