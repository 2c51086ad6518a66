// Host, Origin and content type of a request.
#include "server/http/guard.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>

#include "common/error.h"

namespace wring {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// Without the port; an IPv6 address without its brackets.
std::string name_of(const std::string& host) {
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
  return lower(host.substr(0, host.find(':')));
}

bool is_address(const std::string& name) {
  in6_addr bytes;
  return ::inet_pton(AF_INET, name.c_str(), &bytes) == 1 || ::inet_pton(AF_INET6, name.c_str(), &bytes) == 1;
}

}  // namespace

void check_host(const HttpRequest& request, const std::vector<std::string>& names) {
  const auto name = name_of(request.host);
  if (is_address(name) || name == "localhost") return;
  if (std::any_of(names.begin(), names.end(), [&](const auto& known) { return lower(known) == name; }))
    return;
  throw Error(
      ErrorCode::kPermissionDenied, "HOST_REFUSED",
      "this server does not go by the name '" + name.substr(0, 80) + "'", "Host",
      "Use its address, or start it with --http-name " + (name.empty() ? "NAME" : name.substr(0, 80)) + ".");
}

void check_same_site(const HttpRequest& request, const std::string& content_type) {
  const auto type = lower(request.content_type.substr(0, request.content_type.find_first_of("; ")));
  if (!content_type.empty() && type != content_type)
    throw Error(ErrorCode::kInvalidArgument, "UNSUPPORTED_MEDIA_TYPE", "the body must be of another type",
                "Content-Type", "Send Content-Type: " + content_type + ".");
  const bool own_origin = request.origin.empty() || request.origin == "http://" + request.host ||
                          request.origin == "https://" + request.host;  // https: behind a proxy
  const bool own_fetch =
      request.fetch_site.empty() || request.fetch_site == "same-origin" || request.fetch_site == "none";
  if (own_origin && own_fetch) return;
  throw Error(ErrorCode::kPermissionDenied, "CROSS_SITE", "a page of another site may not call this",
              own_origin ? "Sec-Fetch-Site" : "Origin",
              "Call it from this server's own page, or with no Origin.");
}

}  // namespace wring
