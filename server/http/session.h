// Logging in: a browser trades its token for a cookie that scripts and other sites cannot use.
#pragma once

#include <string>

#include "server/auth/door.h"
#include "server/http/http_server.h"

namespace wring {

// The Authorization header's token, else the cookie's.
Credentials credentials_of(const HttpRequest& request);

// /api/v1/session, login and logout below /api/v1.
bool is_session(const std::string& path);
// POST login {"token": ".."} answers the session and sets the cookie, or throws as Door::identify(); POST
// logout takes it away.
HttpResponse change_session(const Door& door, const HttpRequest& request, const std::string& path);
// GET session: {"login": false} on a server that lets everybody in; else {"login": true}, and who the caller
// is: "caller", "scope", "project" (empty: all), all empty where he has not logged in.
HttpResponse show_session(const Door& door, const HttpRequest& request, const std::string& path);

}  // namespace wring
