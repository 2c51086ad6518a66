// Entity tags: a poll that finds nothing new costs a 304 without a body.
#pragma once

#include <string>

#include "server/http/http_server.h"

namespace wring {

std::string etag_of(const std::string& content);  // of its SHA-256, quoted

// Whether the request's If-None-Match names it.
bool has_etag(const HttpRequest& request, const std::string& etag);

// The response under `etag`, or a 304 where the request's If-None-Match names it.
HttpResponse with_etag(const HttpRequest& request, HttpResponse response, const std::string& etag);

}  // namespace wring
