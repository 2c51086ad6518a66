// The channel and stubs of one server, as every call uses them. Inside the client library only.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <thread>

#include "client/client.h"
#include "common/clock.h"
#include "common/error.h"
#include "proto/rpc/backoff.h"
#include "proto/rpc/status.h"
#include "wring/v1/artifacts.grpc.pb.h"
#include "wring/v1/evaluations.grpc.pb.h"
#include "wring/v1/jobs.grpc.pb.h"
#include "wring/v1/methods.grpc.pb.h"
#include "wring/v1/projects.grpc.pb.h"
#include "wring/v1/sweeps.grpc.pb.h"
#include "wring/v1/tokens.grpc.pb.h"
#include "wring/v1/workers.grpc.pb.h"

namespace wring {

struct Connection {
  explicit Connection(const ClientConfig& config);

  // Sets the deadline; 0 seconds: none.
  void prepare(grpc::ClientContext& context, double seconds) const;
  // The error of a call, in our words where the server could not be reached.
  Error error(const grpc::Status& status) const;

  // One unary call. The channel itself sends it again where the server is away for a moment; what a server
  // that stops has cancelled is sent again here.
  template <typename Response, typename Service, typename Request>
  Response call(Service& stub,
                grpc::Status (Service::*method)(grpc::ClientContext*, const Request&, Response*),
                const Request& request, double seconds = 60) const {
    constexpr int kTries = 4;
    Backoff backoff(0.2, 2);
    for (int i = 1;; ++i) {
      grpc::ClientContext context;
      prepare(context, seconds);
      Response response;
      const auto status = (stub.*method)(&context, request, &response);
      if (status.ok()) return response;
      if (status.error_code() != grpc::StatusCode::CANCELLED || i == kTries) throw error(status);
      std::this_thread::sleep_for(std::chrono::duration<double>(backoff.next_seconds()));
    }
  }

  ClientConfig config;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Jobs::Stub> jobs;
  std::unique_ptr<v1::Artifacts::Stub> artifacts;
  std::unique_ptr<v1::Methods::Stub> methods;
  std::unique_ptr<v1::Workers::Stub> workers;
  std::unique_ptr<v1::Projects::Stub> projects;
  std::unique_ptr<v1::Sweeps::Stub> sweeps;
  std::unique_ptr<v1::Tokens::Stub> tokens;
  std::unique_ptr<v1::Evaluations::Stub> evaluations;
};

}  // namespace wring
