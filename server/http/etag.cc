// If-None-Match, RFC 9110 section 13.1.2.
#include "server/http/etag.h"

#include "common/digest.h"

namespace wring {

std::string etag_of(const std::string& content) {
  return '"' + sha256(content).hex().substr(0, 32) + '"';
}

// Tags are compared weakly, so a W/ before one says nothing.
bool has_etag(const HttpRequest& request, const std::string& etag) {
  const std::string opaque = etag.starts_with("W/") ? etag.substr(2) : etag;
  return request.if_none_match == "*" || request.if_none_match.find(opaque) != std::string::npos;
}

HttpResponse with_etag(const HttpRequest& request, HttpResponse response, const std::string& etag) {
  response.headers.emplace_back("ETag", etag);
  if (has_etag(request, etag)) {
    response.status = 304;
    response.body.clear();
  }
  return response;
}

}  // namespace wring
