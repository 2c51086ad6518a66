// The gRPC services of proto/wring/v1, thin: each turns a request into a call of the coordinator, the store
// or the blobs.
#pragma once

#include <grpcpp/server_builder.h>

#include <memory>

#include "server/api/coordinator.h"
#include "server/auth/door.h"
#include "server/blobs/blob_store.h"
#include "server/sweeps/sweeps.h"

namespace wring {

// What the services work on. All outlive them.
struct Backend {
  Coordinator& coordinator;
  Sweeps& sweeps;
  JobStore& store;
  BlobStore& blobs;
  Tokens& tokens;
  Door& door;
  const Clock& clock;
  Metrics& metrics;
  double heartbeat_seconds = 3;  // what workers are asked for
};

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
