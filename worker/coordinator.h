// The server as the worker sees it: its calls, with deadlines and errors, and the rule for trying again.
#pragma once

#include <grpcpp/client_context.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "common/error.h"
#include "common/log.h"
#include "proto/rpc/backoff.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/status.h"
#include "worker/stop_signal.h"
#include "wring/v1/artifacts.grpc.pb.h"
#include "wring/v1/workers.grpc.pb.h"

namespace wring {

// Every call throws the server's error as wring::Error. Any thread may call.
class Coordinator {
 public:
  Coordinator(std::string server, ChannelSecurity security)
      : server_(std::move(server)),
        security_(std::move(security)),
        workers_(v1::Workers::NewStub(make_channel(server_, security_))),
        artifacts_(v1::Artifacts::NewStub(make_channel(server_, security_))) {}
  // The same server, for calls about a leased job: they see what its project has.
  Coordinator for_job(const std::string& id) const {
    ChannelSecurity security = security_;
    security.job = id;
    return {server_, security};
  }

  v1::RegisterWorkerResponse register_worker(const v1::Worker& worker) {
    v1::RegisterWorkerRequest request;
    *request.mutable_worker() = worker;
    return call<v1::RegisterWorkerResponse>(*workers_, &v1::Workers::Stub::RegisterWorker, request, 10);
  }
  // `context` lets another thread cancel the wait.
  v1::LeaseJobResponse lease_job(const v1::LeaseJobRequest& request, grpc::ClientContext& context) {
    return call<v1::LeaseJobResponse>(*workers_, &v1::Workers::Stub::LeaseJob, request,
                                      request.wait_seconds() + 10, context);
  }
  v1::HeartbeatResponse heartbeat(const v1::HeartbeatRequest& request, double seconds = 5) {
    return call<v1::HeartbeatResponse>(*workers_, &v1::Workers::Stub::Heartbeat, request, seconds);
  }
  void report_stage(const v1::ReportStageRequest& request) {
    call<v1::ReportStageResponse>(*workers_, &v1::Workers::Stub::ReportStage, request, 10);
  }
  void finish_attempt(const v1::FinishAttemptRequest& request) {
    call<v1::FinishAttemptResponse>(*workers_, &v1::Workers::Stub::FinishAttempt, request, 30);
  }
  v1::FindStageResponse find_stage(const v1::FindStageRequest& request) {
    return call<v1::FindStageResponse>(*workers_, &v1::Workers::Stub::FindStage, request, 10);
  }
  v1::KeepStageResponse keep_stage(const v1::KeepStageRequest& request) {
    return call<v1::KeepStageResponse>(*workers_, &v1::Workers::Stub::KeepStage, request, 60);
  }
  v1::Artifact get_artifact(const std::string& digest) {
    v1::GetArtifactRequest request;
    request.set_digest(digest);
    return call<v1::Artifact>(*artifacts_, &v1::Artifacts::Stub::GetArtifact, request, 60);
  }
  v1::Artifact commit_artifact(const v1::CommitArtifactRequest& request) {
    return call<v1::Artifact>(*artifacts_, &v1::Artifacts::Stub::CommitArtifact, request, 120);
  }
  v1::Artifacts::StubInterface& artifacts() { return *artifacts_; }

 private:
  template <typename Response, typename Service, typename Request>
  static Response call(Service& stub,
                       grpc::Status (Service::*method)(grpc::ClientContext*, const Request&, Response*),
                       const Request& request, double seconds, grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000)));
    Response response;
    check((stub.*method)(&context, request, &response));
    return response;
  }
  template <typename Response, typename Service, typename Request>
  static Response call(Service& stub,
                       grpc::Status (Service::*method)(grpc::ClientContext*, const Request&, Response*),
                       const Request& request, double seconds) {
    grpc::ClientContext context;
    return call<Response>(stub, method, request, seconds, context);
  }

  std::string server_;
  ChannelSecurity security_;
  std::unique_ptr<v1::Workers::Stub> workers_;
  std::unique_ptr<v1::Artifacts::Stub> artifacts_;
};

// Calls `ask` until the server answers. Throws its errors, and Error(kCancelled, "STOPPED") once `stop` is
// set.
template <typename Ask>
auto until_answered(const StopSignal& stop, const char* what, Ask&& ask) {
  bool said = false;
  for (Backoff backoff(0.1, 3);;) {
    try {
      return ask();
    } catch (const Error& error) {
      if (!is_away(error)) throw;
      if (!std::exchange(said, true))
        spdlog::warn("{}: the server is away ({}); trying on", what, error.message());
    }
    if (stop.wait(backoff.next_seconds()))
      throw Error(ErrorCode::kCancelled, "STOPPED", std::string(what) + " was given up");
  }
}

}  // namespace wring
