#include "controlplane/http/static_files.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "controlplane/http/connect.h"
#include "controlplane/model/limits.h"

namespace sluice::controlplane::http {
namespace {

constexpr char kIndex[] = "/index.html";
constexpr std::string_view kPolicy =
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; "
    "frame-ancestors 'none'";

std::string type_of(const std::string& extension) {
  static constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
      {".html", "text/html; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".json", "application/json"},
      {".svg", "image/svg+xml"},
      {".png", "image/png"},
      {".ico", "image/x-icon"},
      {".woff2", "font/woff2"},
      {".txt", "text/plain; charset=utf-8"},
      {".webmanifest", "application/manifest+json"},
  };
  for (const auto& [name, type] : kTypes) {
    if (name == extension) {
      return std::string(type);
    }
  }
  return "application/octet-stream";
}

absl::StatusOr<std::string> read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file) {
    return unavailable(fmt::format("portal: cannot read {}", path.string()));
  }
  return content.str();
}

}  // namespace

absl::StatusOr<StaticFiles> StaticFiles::load(const std::string& directory) {
  namespace fs = std::filesystem;
  StaticFiles files;
  std::size_t total = 0;
  std::error_code error;
  fs::recursive_directory_iterator it(directory, error);
  const fs::recursive_directory_iterator end;
  for (; !error && it != end; it.increment(error)) {
    const bool hidden = it->path().filename().string().starts_with('.');
    if (hidden && it->is_directory()) {
      it.disable_recursion_pending();
    }
    if (hidden || it->is_symlink() || !it->is_regular_file()) {
      continue;
    }
    SLUICE_ASSIGN_OR_RETURN(std::string content, read(it->path()));
    total += content.size();
    if (total > limits::kPortalBytesMax) {
      return invalid_argument(
          fmt::format("portal: {} holds more than {} bytes", directory, limits::kPortalBytesMax));
    }
    const std::string name = "/" + fs::relative(it->path(), directory).generic_string();
    files.files_[name] = {type_of(it->path().extension().string()),
                          std::make_shared<const std::string>(std::move(content))};
  }
  if (error) {
    return unavailable(fmt::format("portal: cannot read {}: {}", directory, error.message()));
  }
  if (files.files_.count(kIndex) == 0) {
    return not_found(fmt::format("portal: there is no index.html in {}", directory));
  }
  return files;
}

httpserver::Response StaticFiles::serve(std::string_view path) const {
  auto found = files_.find(path == "/" ? kIndex : path);
  const std::string_view last = path.substr(path.rfind('/') + 1);
  if (found == files_.end() && last.find('.') == std::string_view::npos) {
    found = files_.find(std::string_view(kIndex));
  }
  if (found == files_.end()) {
    return httpserver::json_response(404, connect_error("not_found", "there is no such file"));
  }
  httpserver::Response response;
  response.headers.add("Content-Type", found->second.type);
  response.headers.add("Content-Security-Policy", kPolicy);
  response.headers.add("Cache-Control", found->first == kIndex ? "no-cache" : "max-age=3600");
  response.shared_body = found->second.content;
  return response;
}

}  // namespace sluice::controlplane::http
