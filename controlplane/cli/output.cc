#include "controlplane/cli/output.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>

namespace sluice::controlplane::cli {
namespace {

std::string plain(const boost::json::value& value) {
  if (value.is_string()) {
    std::string text(value.get_string());
    // 2026-11-24T15:00:00.123Z: people do not need the fraction.
    if (text.size() > 20 && text[10] == 'T' && text.back() == 'Z') {
      text = text.substr(0, 19) + "Z";
    }
    return text;
  }
  if (value.is_null()) {
    return "";
  }
  if (value.is_bool()) {
    return value.get_bool() ? "yes" : "no";
  }
  if (value.is_array()) {
    std::string out;
    for (const boost::json::value& item : value.get_array()) {
      out += (out.empty() ? "" : ",") + plain(item);
    }
    return out;
  }
  return boost::json::serialize(value);
}

void emit(YAML::Emitter& out, const boost::json::value& value) {
  if (value.is_object()) {
    out << YAML::BeginMap;
    for (const auto& [key, item] : value.get_object()) {
      out << YAML::Key << std::string(key) << YAML::Value;
      emit(out, item);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    out << YAML::BeginSeq;
    for (const boost::json::value& item : value.get_array()) {
      emit(out, item);
    }
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    out << std::string(value.get_string());
  } else if (value.is_bool()) {
    out << value.get_bool();
  } else {
    out << boost::json::serialize(value);
  }
}

}  // namespace

std::string text_at(const boost::json::value& value, std::string_view path) {
  const boost::json::value* at = &value;
  while (!path.empty()) {
    const std::size_t dot = std::min(path.find('.'), path.size());
    if (!at->is_object()) {
      return "";
    }
    at = at->get_object().if_contains(path.substr(0, dot));
    if (at == nullptr) {
      return "";
    }
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return plain(*at);
}

std::string table(const std::vector<std::vector<std::string>>& rows,
                  const std::vector<std::string_view>& titles) {
  if (rows.empty()) {
    return "none\n";
  }
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < titles.size(); ++c) {
    std::size_t width = titles[c].size();
    for (const auto& row : rows) {
      width = std::max(width, row[c].size());
    }
    widths.push_back(width);
  }
  std::string out;
  const auto add = [&](const auto& row) {
    for (std::size_t c = 0; c < titles.size(); ++c) {
      std::string cell(row[c]);
      if (c + 1 < titles.size()) {
        cell.resize(widths[c] + 2, ' ');
      }
      out += cell;
    }
    while (out.ends_with(' ')) {
      out.pop_back();
    }
    out += '\n';
  };
  add(titles);
  for (const auto& row : rows) {
    add(row);
  }
  return out;
}

std::string show_rows(Format format, const boost::json::array& rows,
                      const std::vector<Column>& columns) {
  if (format != Format::kTable) {
    return show_value(format, rows);
  }
  std::vector<std::string_view> titles;
  for (const Column& column : columns) {
    titles.push_back(column.title);
  }
  std::vector<std::vector<std::string>> cells;
  for (const boost::json::value& row : rows) {
    std::vector<std::string> line;
    for (const Column& column : columns) {
      std::string text = text_at(row, column.path);
      line.push_back(text.empty() ? "-" : std::move(text));
    }
    cells.push_back(std::move(line));
  }
  return table(cells, titles);
}

std::string show_value(Format format, const boost::json::value& value) {
  if (format == Format::kJson) {
    return boost::json::serialize(value) + "\n";
  }
  YAML::Emitter out;
  emit(out, value);
  return std::string(out.c_str()) + "\n";
}

}  // namespace sluice::controlplane::cli
