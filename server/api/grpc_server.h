// The gRPC server: the services of proto/wring/v1, the health of each, and reflection, on one port.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <optional>
#include <string>

#include "server/api/services.h"
#include "server/auth/certificates.h"

namespace wring {

class GrpcServer {
 public:
  // Listens on HOST:PORT at once (port 0: a free one), in plain text unless there is `tls`. Throws
  // Error(kUnavailable, "ADDRESS_IN_USE").
  GrpcServer(const Backend& backend, const std::string& address, const std::optional<TlsFiles>& tls = {});
  ~GrpcServer();  // stop()
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  int port() const { return port_; }

  // Drains: health says NOT_SERVING, waiting calls come back, the others have two seconds.
  void stop();

 private:
  Backend backend_;
  Services services_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace wring
