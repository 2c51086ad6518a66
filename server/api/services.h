// The gRPC services of proto/wring/v1, thin: each answers with what calls.h says of it, or streams.
#pragma once

#include <grpcpp/server_builder.h>

#include <memory>

#include "server/api/calls.h"

namespace wring {

// Owns the services; register them with a builder, and keep this alive while the server runs.
class Services {
 public:
  explicit Services(Backend backend);
  ~Services();
  void add_to(grpc::ServerBuilder& builder);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wring
