// Static files by their hashed names.
#include "server/http/page.h"

#include <set>

#include "common/digest.h"
#include "common/files.h"
#include "server/http/etag.h"
#include "server/http/pack.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLargestFile = 16u << 20;

// Styles and scripts come from files alone. Data images are what charts and the icon are drawn with.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

constexpr const char* kNotBuilt =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Wring</title>"
    "<h1>The dashboard is not built</h1><p>Install Node.js 18 or newer with npm (scripts/bootstrap "
    "--dashboard), run "
    "scripts/build and start this server again. The API is at <a "
    "href=\"/api/v1/jobs\">/api/v1</a>.</p></html>";

std::string content_type_of(const fs::path& path) {
  static const std::map<std::string, std::string> types{
      {".html", "text/html; charset=utf-8"}, {".js", "text/javascript; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},   {".svg", "image/svg+xml"},
      {".json", "application/json"},         {".woff2", "font/woff2"},
      {".txt", "text/plain; charset=utf-8"},
  };
  const auto it = types.find(path.extension().string());
  return it == types.end() ? "application/octet-stream" : it->second;
}

bool is_page(const std::string& path) {
  static const std::set<std::string> views{"",          "jobs",    "sweeps", "compare", "submit",
                                           "artifacts", "workers", "try",    "access"};
  return path.starts_with('/') && views.contains(path.substr(1, path.find('/', 1) - 1));
}

}  // namespace

Page::Page(const fs::path& folder) {
  if (folder.empty() || !fs::is_directory(folder)) return;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.path().extension() == ".gz") continue;
    File file{content_type_of(entry.path()), read_file(entry.path(), kLargestFile), "", ""};
    const auto packed = entry.path().string() + ".gz";
    if (fs::is_regular_file(packed)) file.gzip = read_file(packed, kLargestFile);
    file.etag = etag_of(file.body);
    files_["/" + entry.path().lexically_relative(folder).generic_string()] = std::move(file);
  }
}

// A person sees the page, which says that there is nothing.
std::optional<HttpResponse> Page::not_found(const HttpRequest& request, const std::string& path) const {
  const bool by_person = request.accept.find("text/html") != std::string::npos;
  if (!by_person || path.starts_with("/api/") || !files_.contains("/index.html")) return std::nullopt;
  auto response = answer(request, "/");
  response->status = 404;
  return response;
}

std::optional<HttpResponse> Page::answer(const HttpRequest& request, const std::string& path) const {
  const auto it = files_.find(is_page(path) ? "/index.html" : path);
  if (it == files_.end() && !is_page(path)) return not_found(request, path);
  HttpResponse response;
  response.headers = {{"Content-Security-Policy", kPolicy}, {"Cross-Origin-Opener-Policy", "same-origin"}};
  if (it == files_.end()) {
    response.status = 404;
    response.content_type = "text/html; charset=utf-8";
    response.body = kNotBuilt;
    return response;
  }
  const File& file = it->second;
  const bool as_gzip = !file.gzip.empty() && takes_gzip(request.accept_encoding);
  response.content_type = file.content_type;
  response.body = as_gzip ? file.gzip : file.body;
  if (as_gzip) response.headers.emplace_back("Content-Encoding", "gzip");
  response.headers.emplace_back("Vary", "Accept-Encoding");
  const bool hashed = path.starts_with("/assets/");  // another content has another name
  response.headers.emplace_back("Cache-Control", hashed ? "public, max-age=31536000, immutable" : "no-cache");
  // One tag a representation: a cache that holds one must not answer for the other.
  return with_etag(request, std::move(response),
                   as_gzip ? file.etag.substr(0, file.etag.size() - 1) + "-gzip\"" : file.etag);
}

}  // namespace wring
