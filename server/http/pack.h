// Bodies in gzip, for askers who take it.
#pragma once

#include <string>

#include "server/http/http_server.h"

namespace wring {

// Whether an Accept-Encoding takes gzip (RFC 9110 section 12.5.3): named, or by *, and not with q=0.
bool takes_gzip(const std::string& accept_encoding);

// The response with its body in gzip, where the asker takes it and the body is large enough to gain by it.
// Not for what holds a secret: its length tells of it.
HttpResponse packed(const HttpRequest& request, HttpResponse response);

}  // namespace wring
