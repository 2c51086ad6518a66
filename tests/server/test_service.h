// A whole coordinator on loopback in this process, and a client's stubs to it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/files.h"
#include "common/ids.h"
#include "formats/manifest.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/status.h"
#include "recipe/recipe.h"
#include "server/api/grpc_server.h"
#include "server/http/routes.h"
#include "tests/common/thrown_by.h"
#include "tests/server/data_folder.h"
#include "wring/v1/artifacts.grpc.pb.h"
#include "wring/v1/evaluations.grpc.pb.h"
#include "wring/v1/jobs.grpc.pb.h"
#include "wring/v1/methods.grpc.pb.h"
#include "wring/v1/projects.grpc.pb.h"
#include "wring/v1/sweeps.grpc.pb.h"
#include "wring/v1/workers.grpc.pb.h"

namespace wring {

// What the server is made of, in the order in which it comes up. Destroyed, it leaves its folder as a process
// that ended would.
struct RunningServer {
  explicit RunningServer(const std::filesystem::path& folder, SchedulerOptions options = {},
                         RouteOptions routes = {}, DoorOptions door_options = {}, double silence_seconds = 60)
      : store(folder),
        blobs(folder),
        coordinator(store, clock, metrics, options),
        sweeps(store, coordinator, clock),
        tokens(store),
        door(store, tokens, clock, door_options),
        backend{coordinator, sweeps, store, blobs, tokens, door, clock, metrics, 3, silence_seconds},
        grpc(backend, "127.0.0.1:0"),
        http("127.0.0.1", 0, make_routes(backend, std::move(routes))) {}

  SystemClock clock;
  Metrics metrics;
  JobStore store;
  BlobStore blobs;
  Coordinator coordinator;
  Sweeps sweeps;
  Tokens tokens;
  Door door;
  Backend backend;
  GrpcServer grpc;
  HttpServer http;
};

class Service : public testing::Test {
 protected:
  Service() { start(); }

  void start() {
    server_.reset();
    server_.emplace(folder_.path(), options_, routes_, door_options_, silence_seconds_);
    channel_ = make_channel("127.0.0.1:" + std::to_string(server_->grpc.port()));
    artifacts_ = v1::Artifacts::NewStub(channel_);
    jobs_ = v1::Jobs::NewStub(channel_);
    workers_ = v1::Workers::NewStub(channel_);
    methods_ = v1::Methods::NewStub(channel_);
    evaluations_ = v1::Evaluations::NewStub(channel_);
    projects_ = v1::Projects::NewStub(channel_);
    sweeps_ = v1::Sweeps::NewStub(channel_);
  }

  // Calls a unary method; throws the server's error.
  template <typename Response, typename Stub, typename Request>
  static Response call(Stub& stub,
                       grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                       const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    Response response;
    check((stub.*method)(&context, request, &response));
    return response;
  }

  static std::vector<v1::WriteBlobRequest> pieces(const std::string& blob, const std::string& id,
                                                  std::size_t from, std::size_t to) {
    std::vector<v1::WriteBlobRequest> messages;
    for (std::size_t at = from; at < to; at += 1000) {
      auto& message = messages.emplace_back();
      if (at == from) {
        message.set_digest(sha256(blob).hex());
        message.set_size(blob.size());
        message.set_upload_id(id);
      }
      message.set_write_offset(at);
      message.set_data(blob.substr(at, std::min<std::size_t>(1000, to - at)));
    }
    return messages;
  }

  std::uint64_t write_blob(const std::vector<v1::WriteBlobRequest>& messages) {
    grpc::ClientContext context;
    v1::WriteBlobResponse response;
    const auto writer = artifacts_->WriteBlob(&context, &response);
    for (const auto& message : messages)
      if (!writer->Write(message)) break;
    writer->WritesDone();
    check(writer->Finish());
    return response.committed_size();
  }

  // Uploads a model of one file with this content and commits it. Returns its digest.
  std::string upload(const std::string& content, const std::string& kind = "model",
                     const std::string& path = "file", const std::string& name = "name") {
    write_blob(pieces(content, random_uuid(), 0, content.size()));
    Manifest manifest;
    manifest.kind = kind;
    manifest.files = {{path, content.size(), {{sha256(content), content.size()}}}};
    v1::CommitArtifactRequest request;
    request.set_manifest_json(manifest.canonical());
    request.set_name(name);
    return call(*artifacts_, &v1::Artifacts::Stub::CommitArtifact, request).digest();
  }

  v1::SubmitJobRequest submission(const std::string& recipe = "rtn(bits=4)") {
    v1::SubmitJobRequest request;
    request.set_request_id(random_uuid());
    request.mutable_spec()->set_recipe(recipe);
    request.mutable_spec()->set_model(upload("a model"));
    return request;
  }
  v1::Job submit(const v1::SubmitJobRequest& request) {
    return call(*jobs_, &v1::Jobs::Stub::SubmitJob, request);
  }
  v1::Job submit() { return submit(submission()); }
  v1::Job get(const std::string& id) {
    v1::GetJobRequest request;
    request.set_id(id);
    return call(*jobs_, &v1::Jobs::Stub::GetJob, request);
  }
  v1::Job cancel(const std::string& id, const std::string& etag = {}) {
    v1::CancelJobRequest request;
    request.set_id(id);
    request.set_etag(etag);
    return call(*jobs_, &v1::Jobs::Stub::CancelJob, request);
  }

  v1::Job pause(const std::string& id) {
    v1::PauseJobRequest request;
    request.set_id(id);
    return call(*jobs_, &v1::Jobs::Stub::PauseJob, request);
  }
  v1::Job resume(const std::string& id) {
    v1::ResumeJobRequest request;
    request.set_id(id);
    return call(*jobs_, &v1::Jobs::Stub::ResumeJob, request);
  }

  // `more`: methods beside those of this release.
  void add_worker(const std::string& id = "w", const std::vector<std::string>& more = {}) {
    v1::RegisterWorkerRequest request;
    request.mutable_worker()->set_id(id);
    request.mutable_worker()->set_name("vm-" + id);
    auto* device = request.mutable_worker()->add_devices();
    device->set_kind("cpu");
    device->set_memory_bytes(8ull << 30);
    for (const auto& spec : {Catalogue::embedded().methods(), Catalogue::embedded().suites()})
      for (const auto* method : spec)
        request.mutable_worker()->add_methods(method->name + "@" + std::to_string(method->version));
    for (const auto& method : more) request.mutable_worker()->add_methods(method);
    call(*workers_, &v1::Workers::Stub::RegisterWorker, request);
  }
  v1::LeaseJobResponse lease(double wait_seconds = 0, const std::string& worker = "w") {
    v1::LeaseJobRequest request;
    request.set_worker_id(worker);
    request.set_wait_seconds(wait_seconds);
    request.add_free_devices()->set_kind("cpu");
    return call(*workers_, &v1::Workers::Stub::LeaseJob, request);
  }
  v1::HeartbeatResponse heartbeat(const v1::LeaseJobResponse& lease,
                                  std::optional<v1::Progress> progress = {}) {
    v1::HeartbeatRequest request;
    request.set_worker_id("w");
    auto* status = request.add_leases();
    status->set_job_id(lease.job().id());
    *status->mutable_fence() = lease.fence();
    if (progress) *status->add_progress() = *progress;
    return call(*workers_, &v1::Workers::Stub::Heartbeat, request);
  }
  void report(const v1::LeaseJobResponse& lease, std::uint32_t index, const std::string& state,
              const std::vector<v1::Evaluation>& rows = {}) {
    v1::ReportStageRequest request;
    request.set_job_id(lease.job().id());
    *request.mutable_fence() = lease.fence();
    request.mutable_stage()->set_index(index);
    request.mutable_stage()->set_name("rtn");
    request.mutable_stage()->set_state(state);
    for (const auto& row : rows) *request.add_evaluations() = row;
    call(*workers_, &v1::Workers::Stub::ReportStage, request);
  }
  static v1::FinishAttemptRequest ending(const v1::LeaseJobResponse& lease, const std::string& outcome) {
    v1::FinishAttemptRequest request;
    request.set_job_id(lease.job().id());
    *request.mutable_fence() = lease.fence();
    request.set_outcome(outcome);
    return request;
  }
  void finish(const v1::FinishAttemptRequest& request) {
    call(*workers_, &v1::Workers::Stub::FinishAttempt, request);
  }

  static v1::Evaluation row(const std::string& suite, double value) {
    v1::Evaluation row;
    row.set_suite(suite);
    row.set_metric("m");
    row.set_value(value);
    return row;
  }

  DataFolder folder_;
  SchedulerOptions options_;
  RouteOptions routes_;
  DoorOptions door_options_;
  double silence_seconds_ = 60;
  std::optional<RunningServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Artifacts::Stub> artifacts_;
  std::unique_ptr<v1::Jobs::Stub> jobs_;
  std::unique_ptr<v1::Workers::Stub> workers_;
  std::unique_ptr<v1::Methods::Stub> methods_;
  std::unique_ptr<v1::Evaluations::Stub> evaluations_;
  std::unique_ptr<v1::Projects::Stub> projects_;
  std::unique_ptr<v1::Sweeps::Stub> sweeps_;
};

}  // namespace wring
