// Where a resource stands in a file, so that messages can say it.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace sluice::config {

struct Source {
  std::string file;
  int line = 0;                      // where the document begins; 0: unknown
  std::map<std::string, int> lines;  // spec.endpoints.production[0] -> line
  // Fields that could not be read, which was said: what is wrong with them besides follows from it.
  std::set<std::string, std::less<>> unread;

  // FILE:LINE: of the field, or of the nearest thing around it; "" if nothing is known.
  std::string place(std::string_view field) const;
  // Whether the field, something in it or something around it is `unread`.
  bool is_unread(std::string_view field) const;
};

}  // namespace sluice::config
