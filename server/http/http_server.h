// HTTP for pages that poll and for Prometheus: GET only, JSON by protobuf's mapping, errors as problem+json.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace wring {

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
};

// Answers a GET of `target` ("/api/v1/jobs?page_size=10"). Must be callable from several threads.
using HttpHandler = std::function<HttpResponse(const std::string& target)>;

// Serves on Boost.Beast with a few threads; requests are at most 16 KiB, idle connections end after 30 s.
class HttpServer {
 public:
  // Listens at once; throws Error(kUnavailable, "ADDRESS_IN_USE") where it cannot. Port 0 takes a free one.
  HttpServer(const std::string& host, std::uint16_t port, HttpHandler handler);
  ~HttpServer();
  std::uint16_t port() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wring
