// The channel and stubs of one server, with the retry that every call shares. Inside the client library only.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <thread>

#include "client/client.h"
#include "common/clock.h"
#include "common/error.h"
#include "proto/rpc/status.h"
#include "wring/v1/artifacts.grpc.pb.h"
#include "wring/v1/evaluations.grpc.pb.h"
#include "wring/v1/jobs.grpc.pb.h"
#include "wring/v1/methods.grpc.pb.h"
#include "wring/v1/workers.grpc.pb.h"

namespace wring {

struct Connection {
  explicit Connection(const ClientConfig& config);

  // Sets token and deadline; 0 seconds: none.
  void prepare(grpc::ClientContext& context, double seconds) const;
  // The error of a call, in our words where the server could not be reached.
  Error error(const grpc::Status& status) const;

  // One unary call. Where the server is away it is tried again, at growing distances, for kPatienceSeconds.
  template <typename Response, typename Service, typename Request>
  Response call(Service& stub,
                grpc::Status (Service::*method)(grpc::ClientContext*, const Request&, Response*),
                const Request& request, double seconds = 60) const {
    auto pause = std::chrono::milliseconds(50);
    for (const Stopwatch watch;; std::this_thread::sleep_for(pause), pause *= 2) {
      grpc::ClientContext context;
      prepare(context, seconds);
      Response response;
      const auto status = (stub.*method)(&context, request, &response);
      if (status.ok()) return response;
      if (status.error_code() != grpc::StatusCode::UNAVAILABLE || watch.seconds() > kPatienceSeconds)
        throw error(status);
    }
  }

  static constexpr double kPatienceSeconds = 2;

  ClientConfig config;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Jobs::Stub> jobs;
  std::unique_ptr<v1::Artifacts::Stub> artifacts;
  std::unique_ptr<v1::Methods::Stub> methods;
  std::unique_ptr<v1::Workers::Stub> workers;
  std::unique_ptr<v1::Evaluations::Stub> evaluations;
};

}  // namespace wring
