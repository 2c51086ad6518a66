// HTTP for the dashboard, for scripts and for Prometheus: requests in, responses out, errors as problem+json.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "server/auth/certificates.h"

namespace wring {

// Names are lower case; a header that was not sent is empty.
struct HttpRequest {
  std::string method;  // GET, HEAD, POST, PUT or DELETE: others are refused before
  std::string target;  // as sent: "/api/v1/jobs?page_size=10"
  std::string host, origin, fetch_site, content_type, accept, accept_encoding, if_none_match, range, if_range;
  std::string authorization, cookie, request_id;
  bool loopback = false;  // from this machine
  bool tls = false;
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // these win over the server's own
  // Where set, the body is `length` bytes that come piece by piece; an empty piece ends it. What it throws
  // cuts the connection, so that the client sees that bytes are missing.
  std::function<std::string()> next_piece;
  std::uint64_t length = 0;
};

// Of the problem that the error becomes.
int http_status(const Error& error);

// RFC 9457, with the error's own members beside, and the first 1,000 of what is missing.
HttpResponse problem_of(const Error& error, std::span<const std::string> missing = {});

// Must be callable from several threads. What it throws becomes a problem (RFC 9457).
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

// Serves on Boost.Beast with a few threads. Headers are at most 16 KiB and bodies 3 MiB (a recipe of 1 MiB,
// as a JSON string); connections that are idle for 30 s end (and bodies after 10 minutes), and those above
// `connections`, or half of the descriptors that the process may have, at once.
class HttpServer {
 public:
  // Listens at once; throws Error(kUnavailable, "ADDRESS_IN_USE") where it cannot. Port 0 takes a free one.
  // In plain text unless there is `tls`.
  HttpServer(const std::string& host, std::uint16_t port, HttpHandler handler,
             const std::optional<TlsFiles>& tls = {}, int connections = 2000);
  ~HttpServer();
  std::uint16_t port() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wring
