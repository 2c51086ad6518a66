// The gRPC services.
#include "server/api/services.h"

#include "common/error.h"
#include "common/log.h"
#include "proto/rpc/status.h"
#include "server/api/artifact_catalogue.h"
#include "server/api/queries.h"
#include "server/api/stage_outputs.h"
#include "server/upkeep/collect.h"
#include "wring/v1/artifacts.grpc.pb.h"
#include "wring/v1/evaluations.grpc.pb.h"
#include "wring/v1/jobs.grpc.pb.h"
#include "wring/v1/methods.grpc.pb.h"
#include "wring/v1/projects.grpc.pb.h"
#include "wring/v1/workers.grpc.pb.h"

namespace wring {
namespace {

using grpc::ServerContext;
using grpc::Status;

constexpr int kMaxDigests = 10'000;

// Whether an error is the operator's to see: a bug, a full disk, damaged data.
bool is_ours(const Error& error) {
  return error.code() == ErrorCode::kInternal || error.code() == ErrorCode::kResourceExhausted ||
         error.code() == ErrorCode::kDataLoss;
}

// Runs `body`, turns what it throws into a status (with a violation for each of `missing`), counts the call.
template <typename Body>
Status answer(const Backend& backend, const char* method, Body body,
              const std::vector<std::string>& missing = {}) {
  Status status = Status::OK;
  try {
    body();
  } catch (...) {
    const Error error = current_error();
    if (is_ours(error)) spdlog::error("{}: {}", method, error.what());
    status = to_status(error, missing);
  }
  backend.metrics.rpc(
      method, status.ok() ? "OK" : std::string(to_string(static_cast<ErrorCode>(status.error_code()))));
  return status;
}

class ArtifactsService final : public v1::Artifacts::Service {
 public:
  explicit ArtifactsService(Backend backend) : b_(backend) {}

  Status FindMissingBlobs(ServerContext*, const v1::FindMissingBlobsRequest* request,
                          v1::FindMissingBlobsResponse* response) override {
    return answer(b_, "FindMissingBlobs", [&] {
      if (request->digests_size() > kMaxDigests)
        throw Error(ErrorCode::kInvalidArgument, "TOO_MANY", "more than 10,000 digests in one request",
                    "digests", "Ask in several requests.");
      for (int i = 0; i < request->digests_size(); ++i)
        if (!b_.blobs.renew(Digest::parse(request->digests(i), "digests[" + std::to_string(i) + "]")))
          response->add_missing(request->digests(i));
    });
  }

  Status WriteBlob(ServerContext*, grpc::ServerReader<v1::WriteBlobRequest>* reader,
                   v1::WriteBlobResponse* response) override {
    return answer(b_, "WriteBlob", [&] {
      v1::WriteBlobRequest message;
      if (!reader->Read(&message))
        throw Error(ErrorCode::kInvalidArgument, "EMPTY_STREAM", "no message came", "digest");
      const Digest digest = Digest::parse(message.digest(), "digest");
      if (b_.blobs.renew(digest)) return response->set_committed_size(b_.blobs.size(digest));
      BlobStore::Upload upload(b_.blobs, digest, message.size(), message.upload_id());
      do {
        if (message.data().size() > (1u << 20))
          throw Error(ErrorCode::kInvalidArgument, "DATA_TOO_LARGE", "more than 1 MiB of data in one message",
                      "data");
        upload.append(message.write_offset(), std::as_bytes(std::span(message.data())));
        b_.metrics.blob_bytes("in", static_cast<double>(message.data().size()));
      } while (reader->Read(&message));
      upload.finish();
      response->set_committed_size(upload.committed());
    });
  }

  Status QueryWriteStatus(ServerContext*, const v1::QueryWriteStatusRequest* request,
                          v1::QueryWriteStatusResponse* response) override {
    return answer(b_, "QueryWriteStatus", [&] {
      const Digest digest = Digest::parse(request->digest(), "digest");
      response->set_complete(b_.blobs.renew(digest));
      response->set_committed_size(b_.blobs.committed_size(digest, request->upload_id()));
    });
  }

  Status ReadBlob(ServerContext*, const v1::ReadBlobRequest* request,
                  grpc::ServerWriter<v1::ReadBlobResponse>* writer) override {
    return answer(b_, "ReadBlob", [&] {
      b_.blobs.read(Digest::parse(request->digest(), "digest"), request->offset(), request->limit(),
                    [&](std::span<const std::byte> piece) {
                      v1::ReadBlobResponse response;
                      response.set_data(piece.data(), piece.size());
                      b_.metrics.blob_bytes("out", static_cast<double>(piece.size()));
                      return writer->Write(response);
                    });
    });
  }

  Status CommitArtifact(ServerContext*, const v1::CommitArtifactRequest* request,
                        v1::Artifact* response) override {
    std::vector<std::string> missing;
    const auto body = [&] {
      *response = commit_artifact(*request, b_.clock.now_ms(), b_.store, b_.blobs, missing);
    };
    return answer(b_, "CommitArtifact", body, missing);
  }

  Status GetArtifact(ServerContext*, const v1::GetArtifactRequest* request, v1::Artifact* response) override {
    return answer(b_, "GetArtifact", [&] { *response = get_artifact(request->digest(), b_.store); });
  }

  Status ListArtifacts(ServerContext*, const v1::ListArtifactsRequest* request,
                       v1::ListArtifactsResponse* response) override {
    return answer(b_, "ListArtifacts", [&] { *response = list_artifacts(*request, b_.store); });
  }

  Status SetRetention(ServerContext*, const v1::SetRetentionRequest* request,
                      v1::Artifact* response) override {
    return answer(b_, "SetRetention",
                  [&] { *response = set_retention(*request, b_.clock.now_ms(), b_.store); });
  }

  Status DeleteArtifact(ServerContext*, const v1::DeleteArtifactRequest* request,
                        v1::DeleteArtifactResponse*) override {
    return answer(b_, "DeleteArtifact", [&] { delete_artifact(request->digest(), b_.store, b_.blobs); });
  }

 private:
  Backend b_;
};

class JobsService final : public v1::Jobs::Service {
 public:
  explicit JobsService(Backend backend) : b_(backend) {}

  Status SubmitJob(ServerContext*, const v1::SubmitJobRequest* request, v1::Job* response) override {
    return answer(b_, "SubmitJob", [&] { *response = b_.coordinator.submit(*request); });
  }
  Status GetJob(ServerContext*, const v1::GetJobRequest* request, v1::Job* response) override {
    return answer(b_, "GetJob", [&] { *response = b_.coordinator.job(request->id()); });
  }
  Status ListJobs(ServerContext*, const v1::ListJobsRequest* request,
                  v1::ListJobsResponse* response) override {
    return answer(b_, "ListJobs", [&] { *response = b_.coordinator.list(*request); });
  }
  Status WatchJob(ServerContext* context, const v1::WatchJobRequest* request,
                  grpc::ServerWriter<v1::Event>* writer) override {
    return answer(b_, "WatchJob", [&] {
      b_.coordinator.watch(request->id(), request->after_event(), [&](const v1::Event* event) {
        if (context->IsCancelled()) return false;
        return !event || writer->Write(*event);
      });
    });
  }
  Status CancelJob(ServerContext*, const v1::CancelJobRequest* request, v1::Job* response) override {
    return answer(b_, "CancelJob",
                  [&] { *response = b_.coordinator.cancel(request->id(), request->etag()); });
  }
  Status RetryJob(ServerContext*, const v1::RetryJobRequest* request, v1::Job* response) override {
    return answer(b_, "RetryJob", [&] { *response = b_.coordinator.retry(request->id(), request->etag()); });
  }
  Status PauseJob(ServerContext*, const v1::PauseJobRequest* request, v1::Job* response) override {
    return answer(b_, "PauseJob",
                  [&] { *response = b_.coordinator.pause(request->id(), request->etag(), true); });
  }
  Status ResumeJob(ServerContext*, const v1::ResumeJobRequest* request, v1::Job* response) override {
    return answer(b_, "ResumeJob",
                  [&] { *response = b_.coordinator.pause(request->id(), request->etag(), false); });
  }
  Status DeleteJob(ServerContext*, const v1::DeleteJobRequest* request, v1::DeleteJobResponse*) override {
    return answer(b_, "DeleteJob", [&] { b_.coordinator.remove(request->id(), request->etag()); });
  }

 private:
  Backend b_;
};

class WorkersService final : public v1::Workers::Service {
 public:
  explicit WorkersService(Backend backend) : b_(backend) {}

  Status RegisterWorker(ServerContext*, const v1::RegisterWorkerRequest* request,
                        v1::RegisterWorkerResponse* response) override {
    return answer(b_, "RegisterWorker", [&] {
      b_.coordinator.register_worker(request->worker());
      response->set_heartbeat_seconds(b_.heartbeat_seconds);
    });
  }
  Status LeaseJob(ServerContext* context, const v1::LeaseJobRequest* request,
                  v1::LeaseJobResponse* response) override {
    return answer(b_, "LeaseJob", [&] {
      *response = b_.coordinator.lease(*request, [&] { return context->IsCancelled(); });
    });
  }
  Status Heartbeat(ServerContext*, const v1::HeartbeatRequest* request,
                   v1::HeartbeatResponse* response) override {
    return answer(b_, "Heartbeat", [&] { *response = b_.coordinator.heartbeat(*request); });
  }
  Status ReportStage(ServerContext*, const v1::ReportStageRequest* request,
                     v1::ReportStageResponse*) override {
    return answer(b_, "ReportStage", [&] { b_.coordinator.report_stage(*request); });
  }
  Status FinishAttempt(ServerContext*, const v1::FinishAttemptRequest* request,
                       v1::FinishAttemptResponse*) override {
    return answer(b_, "FinishAttempt", [&] { b_.coordinator.finish(*request); });
  }
  Status FindStage(ServerContext*, const v1::FindStageRequest* request,
                   v1::FindStageResponse* response) override {
    return answer(b_, "FindStage", [&] {
      const auto project = b_.coordinator.project_of(request->job_id(), request->fence());
      *response = outputs().find(project, request->key(), b_.clock.now_ms());
    });
  }
  Status KeepStage(ServerContext*, const v1::KeepStageRequest* request,
                   v1::KeepStageResponse* response) override {
    std::vector<std::string> missing;
    const auto body = [&] {
      const auto project = b_.coordinator.project_of(request->job_id(), request->fence());
      *response = outputs().keep(project, *request, b_.clock.now_ms(), missing);
    };
    return answer(b_, "KeepStage", body, missing);
  }
  Status ListWorkers(ServerContext*, const v1::ListWorkersRequest* request,
                     v1::ListWorkersResponse* response) override {
    return answer(b_, "ListWorkers", [&] { *response = b_.coordinator.list(*request); });
  }
  Status PauseWorker(ServerContext*, const v1::PauseWorkerRequest* request, v1::Worker* response) override {
    return answer(b_, "PauseWorker", [&] { *response = b_.coordinator.pause_worker(request->id(), true); });
  }
  Status ResumeWorker(ServerContext*, const v1::ResumeWorkerRequest* request, v1::Worker* response) override {
    return answer(b_, "ResumeWorker", [&] { *response = b_.coordinator.pause_worker(request->id(), false); });
  }

 private:
  StageOutputs outputs() const { return {b_.store, b_.blobs, b_.metrics}; }

  Backend b_;
};

class ProjectsService final : public v1::Projects::Service {
 public:
  explicit ProjectsService(Backend backend) : b_(backend) {}

  Status PauseProject(ServerContext*, const v1::PauseProjectRequest* request,
                      v1::Project* response) override {
    return answer(b_, "PauseProject",
                  [&] { *response = b_.coordinator.pause_project(request->name(), true); });
  }
  Status ResumeProject(ServerContext*, const v1::ResumeProjectRequest* request,
                       v1::Project* response) override {
    return answer(b_, "ResumeProject",
                  [&] { *response = b_.coordinator.pause_project(request->name(), false); });
  }
  Status ListProjects(ServerContext*, const v1::ListProjectsRequest* request,
                      v1::ListProjectsResponse* response) override {
    return answer(b_, "ListProjects", [&] { *response = b_.coordinator.list(*request); });
  }

 private:
  Backend b_;
};

class MethodsService final : public v1::Methods::Service {
 public:
  explicit MethodsService(Backend backend) : b_(backend) {}

  Status ListMethods(ServerContext*, const v1::ListMethodsRequest* request,
                     v1::ListMethodsResponse* response) override {
    return answer(b_, "ListMethods", [&] { *response = list_methods(*request); });
  }
  Status GetMethod(ServerContext*, const v1::GetMethodRequest* request, v1::Method* response) override {
    return answer(b_, "GetMethod", [&] { *response = get_method(request->name()); });
  }
  Status ValidateRecipe(ServerContext*, const v1::ValidateRecipeRequest* request,
                        v1::ValidateRecipeResponse* response) override {
    return answer(b_, "ValidateRecipe", [&] { *response = validate_recipe(request->recipe()); });
  }

 private:
  Backend b_;
};

class EvaluationsService final : public v1::Evaluations::Service {
 public:
  explicit EvaluationsService(Backend backend) : b_(backend) {}

  Status QueryEvaluations(ServerContext*, const v1::QueryEvaluationsRequest* request,
                          v1::QueryEvaluationsResponse* response) override {
    return answer(b_, "QueryEvaluations", [&] { *response = query_evaluations(*request, b_.store); });
  }

 private:
  Backend b_;
};

}  // namespace

struct Services::Impl {
  explicit Impl(Backend backend)
      : artifacts(backend),
        jobs(backend),
        workers(backend),
        projects(backend),
        methods(backend),
        evaluations(backend) {}
  ArtifactsService artifacts;
  JobsService jobs;
  WorkersService workers;
  ProjectsService projects;
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
  builder.RegisterService(&impl_->methods);
  builder.RegisterService(&impl_->evaluations);
}

}  // namespace wring
