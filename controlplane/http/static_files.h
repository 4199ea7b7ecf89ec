// The portal's files, read once at the start.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/status.h"
#include "proxy/httpserver/http_server.h"

namespace sluice::controlplane::http {

// Immutable; any thread.
class StaticFiles {
 public:
  // All regular files below `directory`; symbolic links and names that begin with a dot are left
  // out. Errors name the file; more than 64 MiB together are refused, and a directory without
  // index.html.
  static absl::StatusOr<StaticFiles> load(const std::string& directory);

  // For a GET of a normalised path. A path of no file that does not look like a file's name gets
  // index.html, whose script knows the pages. 404 otherwise.
  httpserver::Response serve(std::string_view path) const;

 private:
  struct File {
    std::string type;
    std::shared_ptr<const std::string> content;
  };
  std::map<std::string, File, std::less<>> files_;  // by path, `/index.html`
};

}  // namespace sluice::controlplane::http
