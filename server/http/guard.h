// Which requests a browser may have been tricked into: refused before anything is looked up.
#pragma once

#include <string>
#include <vector>

#include "server/http/http_server.h"

namespace wring {

// DNS rebinding: a page of evil.example whose name now resolves to this machine still sends its own name as
// Host. So only addresses, localhost and `names` are answered. Throws Error(kPermissionDenied,
// "HOST_REFUSED").
void check_host(const HttpRequest& request, const std::vector<std::string>& names);

// A call that changes something must come from our own page or from no page at all: no foreign Origin, no
// foreign Sec-Fetch-Site, and a body of `content_type` (empty: it has none), which another site's page cannot
// send without being asked first; nor can it a PUT or DELETE. Throws Error(kPermissionDenied, "CROSS_SITE"),
// kInvalidArgument "UNSUPPORTED_MEDIA_TYPE".
void check_same_site(const HttpRequest& request, const std::string& content_type);

}  // namespace wring
