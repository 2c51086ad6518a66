// The dashboard's files, as scripts/build left them.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "server/http/http_server.h"

namespace wring {

// Reads the folder once and keeps it in memory. Immutable, so any thread may call.
class Page {
 public:
  // FOLDER holds index.html, what it names, and for each text file its .gz. Where it is absent, every page
  // says how to build it.
  explicit Page(const std::filesystem::path& folder);

  // The file at `path`; for the page's own addresses (/, /jobs/ID, ...) its index.html. nullopt: neither.
  std::optional<HttpResponse> answer(const HttpRequest& request, const std::string& path) const;

 private:
  struct File {
    std::string content_type, body, gzip, etag;
  };
  std::optional<HttpResponse> not_found(const HttpRequest& request, const std::string& path) const;

  std::map<std::string, File> files_;  // by path with its leading slash
};

}  // namespace wring
