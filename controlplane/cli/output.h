// How answers are shown: tables that read well, JSON, or YAML.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::controlplane::cli {

enum class Format { kTable, kJson, kYaml };

// A column: its title and where its value lies in a row, e.g. "spec.plan"; lists are joined by
// commas, times are shown in UTC to the second.
struct Column {
  std::string_view title;
  std::string_view path;
};

// The value at a dotted path, as people read it; empty if there is none.
std::string text_at(const boost::json::value& value, std::string_view path);

// Rows below their titles, aligned; "none" if there is no row.
std::string table(const std::vector<std::vector<std::string>>& rows,
                  const std::vector<std::string_view>& titles);

// The whole answer in the format asked for, with a newline.
std::string show_rows(Format format, const boost::json::array& rows,
                      const std::vector<Column>& columns);
std::string show_value(Format format, const boost::json::value& value);

}  // namespace sluice::controlplane::cli
