// The cookie holds the token itself: whoever revokes the token ends the session.
#include "server/http/session.h"

#include "common/error.h"
#include "common/json.h"

namespace wring {
namespace {

constexpr const char* kSession = "/api/v1/session";
constexpr const char* kLogin = "/api/v1/login";
constexpr const char* kLogout = "/api/v1/logout";
// Cookies are of a host, whatever its port; servers on several ports of one have one each.
std::string cookie_name(const HttpRequest& request) {
  const auto colon = request.host.rfind(':');
  std::string port = colon == std::string::npos ? "" : request.host.substr(colon + 1);
  if (port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos) port.clear();
  return port.empty() ? "wring_token=" : "wring_token_" + port + "=";
}

std::string cookie_token(const HttpRequest& request) {
  const std::string name = cookie_name(request), &cookies = request.cookie;
  for (std::size_t at = 0; at < cookies.size();) {
    const auto end = std::min(cookies.find(';', at), cookies.size());
    const auto start = cookies.find_first_not_of(' ', at);
    if (start < end && cookies.compare(start, name.size(), name) == 0)
      return cookies.substr(start + name.size(), end - start - name.size());
    at = end + 1;
  }
  return "";
}

HttpResponse describe_session(const Door& door, const Caller& caller) {
  HttpResponse response;
  response.body = Json{{"login", !door.is_open()},
                       {"caller", caller.id},
                       {"scope", caller.id.empty() ? "" : to_string(caller.scope)},
                       {"project", caller.project}}
                      .dump();
  return response;
}

// The page was loaded over TLS: from here, or from a proxy that ends it.
bool is_secure(const HttpRequest& request) {
  return request.tls || request.origin.starts_with("https://");
}

// Sent with this site's own requests alone, and out of scripts' reach.
void set_cookie(HttpResponse& response, const HttpRequest& request, const std::string& token,
                const std::string& more) {
  response.headers.emplace_back("Set-Cookie", cookie_name(request) + token +
                                                  "; Path=/; HttpOnly; SameSite=Strict" +
                                                  (is_secure(request) ? "; Secure" : "") + more);
}

}  // namespace

Credentials credentials_of(const HttpRequest& request) {
  Credentials credentials;
  credentials.token =
      request.authorization.empty() ? cookie_token(request) : bearer_token(request.authorization);
  credentials.loopback = request.loopback;
  credentials.request_id = request.request_id;
  return credentials;
}

bool is_session(const std::string& path) {
  return path == kSession || path == kLogin || path == kLogout;
}

HttpResponse change_session(const Door& door, const HttpRequest& request, const std::string& path) {
  if (path == kSession)
    throw Error(ErrorCode::kUnimplemented, "METHOD_NOT_ALLOWED", "this path does not answer to that method",
                "", "GET, HEAD");
  if (path == kLogout) {
    auto response = describe_session(door, {});
    set_cookie(response, request, "", "; Max-Age=0");
    return response;
  }
  Credentials credentials = credentials_of(request);
  credentials.token = json_or<std::string>(parse_json(request.body, "the body"), "token", "");
  auto response = describe_session(door, door.identify(credentials));
  if (!door.is_open())
    set_cookie(response, request, credentials.token, "");  // who was let in has a known one
  return response;
}

HttpResponse show_session(const Door& door, const HttpRequest& request, const std::string& path) {
  if (path != kSession)
    throw Error(ErrorCode::kUnimplemented, "METHOD_NOT_ALLOWED", "this path does not answer to that method",
                "", "POST");
  Caller caller;
  try {
    caller = door.identify(credentials_of(request));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnauthenticated) throw;
  }
  return describe_session(door, caller);
}

}  // namespace wring
