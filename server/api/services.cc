// The gRPC services.
#include "server/api/services.h"

#include <optional>

#include "common/address.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/status.h"
#include "server/api/silence_limit.h"
#include "server/api/stage_outputs.h"
#include "wring/v1/artifacts.grpc.pb.h"
#include "wring/v1/evaluations.grpc.pb.h"
#include "wring/v1/jobs.grpc.pb.h"
#include "wring/v1/methods.grpc.pb.h"
#include "wring/v1/projects.grpc.pb.h"
#include "wring/v1/sweeps.grpc.pb.h"
#include "wring/v1/tokens.grpc.pb.h"
#include "wring/v1/workers.grpc.pb.h"

namespace wring {
namespace {

using grpc::ServerContext;
using grpc::Status;

// Whether an error is the operator's to see: a bug, a full disk, damaged data.
bool is_ours(const Error& error) {
  return error.code() == ErrorCode::kInternal || error.reason() == "DISK_FULL" ||
         error.reason() == "OUT_OF_MEMORY" || error.code() == ErrorCode::kDataLoss;
}

// "ipv4:127.0.0.1:50212", "ipv6:%5B::1%5D:50212".
bool is_loopback_peer(const std::string& peer) {
  if (!peer.starts_with("ipv4:") && !peer.starts_with("ipv6:")) return false;
  std::string host = peer.substr(5, peer.rfind(':') - 5);
  if (host.starts_with("%5B") && host.ends_with("%5D")) host = host.substr(3, host.size() - 6);
  return is_loopback(host);
}

// From the call's metadata and its connection.
Credentials credentials_of(const ServerContext& context) {
  const auto metadata = [&](const char* key) {
    const auto it = context.client_metadata().find(key);
    return it == context.client_metadata().end() ? std::string()
                                                 : std::string(it->second.data(), it->second.size());
  };
  Credentials credentials;
  credentials.token = bearer_token(metadata("authorization"));
  credentials.request_id = metadata("x-request-id");
  credentials.job = metadata(kJobMetadata);
  credentials.loopback = is_loopback_peer(context.peer());
  credentials.address = context.peer().substr(0, context.peer().rfind(':'));
  const auto connection = context.auth_context();
  const auto names = connection->FindPropertyValues(GRPC_X509_CN_PROPERTY_NAME);
  if (connection->IsPeerAuthenticated() && names.size() == 1)
    credentials.certificate.assign(names[0].data(), names[0].size());
  return credentials;
}

// Whether the call is over once something happens, and not as soon as can be.
bool waits(std::string_view method) {
  return method == "Workers/LeaseJob" || method == "Jobs/WatchJob";
}

// Runs `body` for whoever may call `method`, turns what is thrown into a status (with a violation for each of
// `missing`), counts the call.
template <typename Body>
Status answer(const Backend& backend, ServerContext& context, std::string_view method, Body body,
              const std::vector<std::string>& missing = {}) {
  Status status = Status::OK;
  const Stopwatch watch;
  Credentials credentials = credentials_of(context);
  credentials.request_id = request_id_from(credentials.request_id);
  const LogScope request("request", credentials.request_id);
  std::optional<LogScope> job;
  if (!credentials.job.empty()) job.emplace("job", credentials.job);
  try {
    backend.door.call(method, credentials, [&](Door::Visit& visit) {
      context.AddInitialMetadata("x-request-id", visit.request_id);
      body(visit);
    });
  } catch (...) {
    const Error error = current_error();
    if (is_ours(error)) spdlog::error("{}: {}", method, error.what());
    status = to_status(error, missing);
  }
  const std::string name(method.substr(method.find('/') + 1));
  const std::string code =
      status.ok() ? "OK" : std::string(to_string(static_cast<ErrorCode>(status.error_code())));
  backend.metrics.rpc(name, code);
  if (!waits(method)) backend.metrics.rpc_took(name, watch.seconds());
  spdlog::debug("{} {} after {:.3f} s", method, code, watch.seconds());
  return status;
}

// What calls.h says of the method.
Status unary(const Backend& backend, ServerContext& context, std::string_view method,
             const google::protobuf::Message& request, google::protobuf::Message& response) {
  std::vector<std::string> missing;
  const auto body = [&](Door::Visit& visit) {
    find_call(method)->run(backend, visit, request, response, missing);
  };
  return answer(backend, context, method, body, missing);
}

class ArtifactsService final : public v1::Artifacts::Service {
 public:
  ArtifactsService(Backend backend, SilenceLimit& silence) : b_(backend), silence_(silence) {}

  Status FindMissingBlobs(ServerContext* context, const v1::FindMissingBlobsRequest* request,
                          v1::FindMissingBlobsResponse* response) override {
    return unary(b_, *context, "Artifacts/FindMissingBlobs", *request, *response);
  }

  Status WriteBlob(ServerContext* context, grpc::ServerReader<v1::WriteBlobRequest>* reader,
                   v1::WriteBlobResponse* response) override {
    return answer(b_, *context, "Artifacts/WriteBlob", [&](Door::Visit& visit) {
      v1::WriteBlobRequest message;
      const auto read = [&] { return silence_.wait(*context, [&] { return reader->Read(&message); }); };
      if (!read()) throw Error(ErrorCode::kInvalidArgument, "EMPTY_STREAM", "no message came", "digest");
      const Digest digest = Digest::parse(message.digest(), "digest");
      const TenantBlobs blobs = blobs_of(b_, visit);
      if (blobs.missing({digest}).empty()) return response->set_committed_size(b_.blobs.size(digest));
      auto upload = blobs.upload(digest, message.size(), message.upload_id());
      do {
        if (message.data().size() > (1u << 20))
          throw Error(ErrorCode::kInvalidArgument, "DATA_TOO_LARGE", "more than 1 MiB of data in one message",
                      "data");
        upload.append(message.write_offset(), std::as_bytes(std::span(message.data())));
        b_.metrics.blob_bytes("in", static_cast<double>(message.data().size()));
        b_.door.check_still(visit.caller);
      } while (read());
      upload.finish();
      blobs.add(digest, upload.committed());
      response->set_committed_size(upload.committed());
    });
  }

  Status QueryWriteStatus(ServerContext* context, const v1::QueryWriteStatusRequest* request,
                          v1::QueryWriteStatusResponse* response) override {
    return unary(b_, *context, "Artifacts/QueryWriteStatus", *request, *response);
  }

  Status ReadBlob(ServerContext* context, const v1::ReadBlobRequest* request,
                  grpc::ServerWriter<v1::ReadBlobResponse>* writer) override {
    return answer(b_, *context, "Artifacts/ReadBlob", [&](Door::Visit& visit) {
      blobs_of(b_, visit).read(Digest::parse(request->digest(), "digest"), request->offset(),
                               request->limit(), [&](std::span<const std::byte> piece) {
                                 v1::ReadBlobResponse response;
                                 response.set_data(piece.data(), piece.size());
                                 b_.metrics.blob_bytes("out", static_cast<double>(piece.size()));
                                 b_.door.check_still(visit.caller);
                                 return silence_.wait(*context, [&] { return writer->Write(response); });
                               });
    });
  }

  Status CommitArtifact(ServerContext* context, const v1::CommitArtifactRequest* request,
                        v1::Artifact* response) override {
    return unary(b_, *context, "Artifacts/CommitArtifact", *request, *response);
  }

  Status GetArtifact(ServerContext* context, const v1::GetArtifactRequest* request,
                     v1::Artifact* response) override {
    return unary(b_, *context, "Artifacts/GetArtifact", *request, *response);
  }

  Status ListArtifacts(ServerContext* context, const v1::ListArtifactsRequest* request,
                       v1::ListArtifactsResponse* response) override {
    return unary(b_, *context, "Artifacts/ListArtifacts", *request, *response);
  }

  Status SetRetention(ServerContext* context, const v1::SetRetentionRequest* request,
                      v1::Artifact* response) override {
    return unary(b_, *context, "Artifacts/SetRetention", *request, *response);
  }

  Status DeleteArtifact(ServerContext* context, const v1::DeleteArtifactRequest* request,
                        v1::DeleteArtifactResponse* response) override {
    return unary(b_, *context, "Artifacts/DeleteArtifact", *request, *response);
  }

 private:
  Backend b_;
  SilenceLimit& silence_;
};

class JobsService final : public v1::Jobs::Service {
 public:
  JobsService(Backend backend, SilenceLimit& silence) : b_(backend), silence_(silence) {}

  Status SubmitJob(ServerContext* context, const v1::SubmitJobRequest* request, v1::Job* response) override {
    return unary(b_, *context, "Jobs/SubmitJob", *request, *response);
  }
  Status GetJob(ServerContext* context, const v1::GetJobRequest* request, v1::Job* response) override {
    return unary(b_, *context, "Jobs/GetJob", *request, *response);
  }
  Status ListJobs(ServerContext* context, const v1::ListJobsRequest* request,
                  v1::ListJobsResponse* response) override {
    return unary(b_, *context, "Jobs/ListJobs", *request, *response);
  }
  Status ListEvents(ServerContext* context, const v1::ListEventsRequest* request,
                    v1::ListEventsResponse* response) override {
    return unary(b_, *context, "Jobs/ListEvents", *request, *response);
  }
  Status ListLogLines(ServerContext* context, const v1::ListLogLinesRequest* request,
                      v1::ListLogLinesResponse* response) override {
    return unary(b_, *context, "Jobs/ListLogLines", *request, *response);
  }
  Status WatchJob(ServerContext* context, const v1::WatchJobRequest* request,
                  grpc::ServerWriter<v1::Event>* writer) override {
    return answer(b_, *context, "Jobs/WatchJob", [&](Door::Visit& visit) {
      b_.coordinator.watch(visit.caller.project, request->id(), request->after_event(),
                           [&](const v1::Event* event) {
                             if (context->IsCancelled()) return false;
                             if (!event) b_.door.check_still(visit.caller);
                             return !event || silence_.wait(*context, [&] { return writer->Write(*event); });
                           });
    });
  }
  Status CancelJob(ServerContext* context, const v1::CancelJobRequest* request, v1::Job* response) override {
    return unary(b_, *context, "Jobs/CancelJob", *request, *response);
  }
  Status RetryJob(ServerContext* context, const v1::RetryJobRequest* request, v1::Job* response) override {
    return unary(b_, *context, "Jobs/RetryJob", *request, *response);
  }
  Status PauseJob(ServerContext* context, const v1::PauseJobRequest* request, v1::Job* response) override {
    return unary(b_, *context, "Jobs/PauseJob", *request, *response);
  }
  Status ResumeJob(ServerContext* context, const v1::ResumeJobRequest* request, v1::Job* response) override {
    return unary(b_, *context, "Jobs/ResumeJob", *request, *response);
  }
  Status DeleteJob(ServerContext* context, const v1::DeleteJobRequest* request,
                   v1::DeleteJobResponse* response) override {
    return unary(b_, *context, "Jobs/DeleteJob", *request, *response);
  }

 private:
  Backend b_;
  SilenceLimit& silence_;
};

class WorkersService final : public v1::Workers::Service {
 public:
  explicit WorkersService(Backend backend) : b_(backend) {}

  Status RegisterWorker(ServerContext* context, const v1::RegisterWorkerRequest* request,
                        v1::RegisterWorkerResponse* response) override {
    return answer(b_, *context, "Workers/RegisterWorker", [&](Door::Visit& visit) {
      visit.object = request->worker().id();
      const auto is_valid = [&](const std::string& other) { return b_.door.may_come(other); };
      b_.coordinator.register_worker(request->worker(), visit.caller.id, is_valid);
      response->set_heartbeat_seconds(b_.heartbeat_seconds);
    });
  }
  Status LeaseJob(ServerContext* context, const v1::LeaseJobRequest* request,
                  v1::LeaseJobResponse* response) override {
    return answer(b_, *context, "Workers/LeaseJob", [&](Door::Visit& visit) {
      check_worker(visit, request->worker_id());
      *response = b_.coordinator.lease(*request, [&] { return context->IsCancelled(); });
    });
  }
  Status Heartbeat(ServerContext* context, const v1::HeartbeatRequest* request,
                   v1::HeartbeatResponse* response) override {
    return answer(b_, *context, "Workers/Heartbeat", [&](Door::Visit& visit) {
      check_worker(visit, request->worker_id());
      *response = b_.coordinator.heartbeat(*request);
    });
  }
  Status ReportStage(ServerContext* context, const v1::ReportStageRequest* request,
                     v1::ReportStageResponse*) override {
    return answer(b_, *context, "Workers/ReportStage", [&](Door::Visit& visit) {
      check_job(visit, request->job_id());
      b_.coordinator.report_stage(*request);
    });
  }
  Status FinishAttempt(ServerContext* context, const v1::FinishAttemptRequest* request,
                       v1::FinishAttemptResponse*) override {
    return answer(b_, *context, "Workers/FinishAttempt", [&](Door::Visit& visit) {
      visit.object = request->job_id();
      check_job(visit, request->job_id());
      b_.coordinator.finish(*request);
    });
  }
  Status FindStage(ServerContext* context, const v1::FindStageRequest* request,
                   v1::FindStageResponse* response) override {
    return answer(b_, *context, "Workers/FindStage", [&](Door::Visit& visit) {
      check_job(visit, request->job_id());
      const auto project = b_.coordinator.project_of(request->job_id(), request->fence());
      *response = outputs().find(project, request->key(), b_.clock.now_ms());
    });
  }
  Status KeepStage(ServerContext* context, const v1::KeepStageRequest* request,
                   v1::KeepStageResponse* response) override {
    std::vector<std::string> missing;
    const auto body = [&](Door::Visit& visit) {
      check_job(visit, request->job_id());
      const auto project = b_.coordinator.project_of(request->job_id(), request->fence());
      const TenantBlobs uploaded(b_.blobs, b_.store, is_worker(visit) ? project : Within());
      *response = outputs().keep(project, *request, uploaded, b_.clock.now_ms(), missing);
      b_.coordinator.stage_shared(request->job_id(), request->key());
    };
    return answer(b_, *context, "Workers/KeepStage", body, missing);
  }
  Status ListWorkers(ServerContext* context, const v1::ListWorkersRequest* request,
                     v1::ListWorkersResponse* response) override {
    return unary(b_, *context, "Workers/ListWorkers", *request, *response);
  }
  Status PauseWorker(ServerContext* context, const v1::PauseWorkerRequest* request,
                     v1::Worker* response) override {
    return unary(b_, *context, "Workers/PauseWorker", *request, *response);
  }
  Status ResumeWorker(ServerContext* context, const v1::ResumeWorkerRequest* request,
                      v1::Worker* response) override {
    return unary(b_, *context, "Workers/ResumeWorker", *request, *response);
  }
  Status GetSystem(ServerContext* context, const v1::GetSystemRequest* request,
                   v1::System* response) override {
    return unary(b_, *context, "Workers/GetSystem", *request, *response);
  }

 private:
  // On a server without tokens anybody may be any worker.
  void check_worker(const Door::Visit& visit, const std::string& worker) const {
    if (is_worker(visit)) b_.coordinator.check_worker(visit.caller.id, worker);
  }
  void check_job(const Door::Visit& visit, const std::string& job) const {
    if (is_worker(visit)) b_.coordinator.project_for(visit.caller.id, job);
  }
  StageOutputs outputs() const { return {b_.store, b_.blobs, b_.metrics}; }

  Backend b_;
};

class ProjectsService final : public v1::Projects::Service {
 public:
  explicit ProjectsService(Backend backend) : b_(backend) {}

  Status PauseProject(ServerContext* context, const v1::PauseProjectRequest* request,
                      v1::Project* response) override {
    return unary(b_, *context, "Projects/PauseProject", *request, *response);
  }
  Status ResumeProject(ServerContext* context, const v1::ResumeProjectRequest* request,
                       v1::Project* response) override {
    return unary(b_, *context, "Projects/ResumeProject", *request, *response);
  }
  Status SetQuota(ServerContext* context, const v1::SetQuotaRequest* request,
                  v1::Project* response) override {
    return unary(b_, *context, "Projects/SetQuota", *request, *response);
  }
  Status ListProjects(ServerContext* context, const v1::ListProjectsRequest* request,
                      v1::ListProjectsResponse* response) override {
    return unary(b_, *context, "Projects/ListProjects", *request, *response);
  }

 private:
  Backend b_;
};

class SweepsService final : public v1::Sweeps::Service {
 public:
  explicit SweepsService(Backend backend) : b_(backend) {}

  Status SubmitSweep(ServerContext* context, const v1::SubmitSweepRequest* request,
                     v1::Sweep* response) override {
    return unary(b_, *context, "Sweeps/SubmitSweep", *request, *response);
  }
  Status GetSweep(ServerContext* context, const v1::GetSweepRequest* request, v1::Sweep* response) override {
    return unary(b_, *context, "Sweeps/GetSweep", *request, *response);
  }
  Status ListSweeps(ServerContext* context, const v1::ListSweepsRequest* request,
                    v1::ListSweepsResponse* response) override {
    return unary(b_, *context, "Sweeps/ListSweeps", *request, *response);
  }
  Status ListTrials(ServerContext* context, const v1::ListTrialsRequest* request,
                    v1::ListTrialsResponse* response) override {
    return unary(b_, *context, "Sweeps/ListTrials", *request, *response);
  }
  Status QueryFront(ServerContext* context, const v1::QueryFrontRequest* request,
                    v1::QueryFrontResponse* response) override {
    return unary(b_, *context, "Sweeps/QueryFront", *request, *response);
  }
  Status QuerySavings(ServerContext* context, const v1::QuerySavingsRequest* request,
                      v1::QuerySavingsResponse* response) override {
    return unary(b_, *context, "Sweeps/QuerySavings", *request, *response);
  }
  Status PauseSweep(ServerContext* context, const v1::PauseSweepRequest* request,
                    v1::Sweep* response) override {
    return unary(b_, *context, "Sweeps/PauseSweep", *request, *response);
  }
  Status ResumeSweep(ServerContext* context, const v1::ResumeSweepRequest* request,
                     v1::Sweep* response) override {
    return unary(b_, *context, "Sweeps/ResumeSweep", *request, *response);
  }
  Status StopSweep(ServerContext* context, const v1::StopSweepRequest* request,
                   v1::Sweep* response) override {
    return unary(b_, *context, "Sweeps/StopSweep", *request, *response);
  }
  Status CancelSweep(ServerContext* context, const v1::CancelSweepRequest* request,
                     v1::Sweep* response) override {
    return unary(b_, *context, "Sweeps/CancelSweep", *request, *response);
  }
  Status ExtendSweep(ServerContext* context, const v1::ExtendSweepRequest* request,
                     v1::Sweep* response) override {
    return unary(b_, *context, "Sweeps/ExtendSweep", *request, *response);
  }
  Status DeleteSweep(ServerContext* context, const v1::DeleteSweepRequest* request,
                     v1::DeleteSweepResponse* response) override {
    return unary(b_, *context, "Sweeps/DeleteSweep", *request, *response);
  }

 private:
  Backend b_;
};

class TokensService final : public v1::Tokens::Service {
 public:
  explicit TokensService(Backend backend) : b_(backend) {}

  Status CreateToken(ServerContext* context, const v1::CreateTokenRequest* request,
                     v1::CreateTokenResponse* response) override {
    return unary(b_, *context, "Tokens/CreateToken", *request, *response);
  }
  Status ListTokens(ServerContext* context, const v1::ListTokensRequest* request,
                    v1::ListTokensResponse* response) override {
    return unary(b_, *context, "Tokens/ListTokens", *request, *response);
  }
  Status RevokeToken(ServerContext* context, const v1::RevokeTokenRequest* request,
                     v1::Token* response) override {
    return unary(b_, *context, "Tokens/RevokeToken", *request, *response);
  }

 private:
  Backend b_;
};

class MethodsService final : public v1::Methods::Service {
 public:
  explicit MethodsService(Backend backend) : b_(backend) {}

  Status ListMethods(ServerContext* context, const v1::ListMethodsRequest* request,
                     v1::ListMethodsResponse* response) override {
    return unary(b_, *context, "Methods/ListMethods", *request, *response);
  }
  Status GetMethod(ServerContext* context, const v1::GetMethodRequest* request,
                   v1::Method* response) override {
    return unary(b_, *context, "Methods/GetMethod", *request, *response);
  }
  Status ValidateRecipe(ServerContext* context, const v1::ValidateRecipeRequest* request,
                        v1::ValidateRecipeResponse* response) override {
    return unary(b_, *context, "Methods/ValidateRecipe", *request, *response);
  }

 private:
  Backend b_;
};

class EvaluationsService final : public v1::Evaluations::Service {
 public:
  explicit EvaluationsService(Backend backend) : b_(backend) {}

  Status QueryEvaluations(ServerContext* context, const v1::QueryEvaluationsRequest* request,
                          v1::QueryEvaluationsResponse* response) override {
    return unary(b_, *context, "Evaluations/QueryEvaluations", *request, *response);
  }

 private:
  Backend b_;
};

}  // namespace

struct Services::Impl {
  explicit Impl(Backend backend)
      : silence(backend.silence_seconds),
        artifacts(backend, silence),
        jobs(backend, silence),
        workers(backend),
        projects(backend),
        sweeps(backend),
        tokens(backend),
        methods(backend),
        evaluations(backend) {}
  SilenceLimit silence;
  ArtifactsService artifacts;
  JobsService jobs;
  WorkersService workers;
  ProjectsService projects;
  SweepsService sweeps;
  TokensService tokens;
  MethodsService methods;
  EvaluationsService evaluations;
};

Services::Services(Backend backend) : impl_(std::make_unique<Impl>(backend)) {}
Services::~Services() = default;

void Services::add_to(grpc::ServerBuilder& builder) {
  builder.RegisterService(&impl_->artifacts);
  builder.RegisterService(&impl_->jobs);
  builder.RegisterService(&impl_->workers);
  builder.RegisterService(&impl_->projects);
  builder.RegisterService(&impl_->sweeps);
  builder.RegisterService(&impl_->tokens);
  builder.RegisterService(&impl_->methods);
  builder.RegisterService(&impl_->evaluations);
}

}  // namespace wring
