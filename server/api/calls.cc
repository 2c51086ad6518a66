// Each call: a request into what the coordinator, the store or the blobs are asked.
#include "server/api/calls.h"

#include <algorithm>

#include "common/error.h"
#include "server/api/artifact_catalogue.h"
#include "server/api/messages.h"
#include "server/api/page_tokens.h"
#include "server/api/queries.h"
#include "server/upkeep/collect.h"
#include "wring/v1/artifacts.pb.h"
#include "wring/v1/evaluations.pb.h"
#include "wring/v1/jobs.pb.h"
#include "wring/v1/methods.pb.h"
#include "wring/v1/projects.pb.h"
#include "wring/v1/sweeps.pb.h"
#include "wring/v1/tokens.pb.h"
#include "wring/v1/workers.pb.h"

namespace wring {
namespace {

using B = const Backend&;
using Visit = Door::Visit&;
using Missing = std::vector<std::string>;

constexpr int kMaxDigests = 10'000;
constexpr int kMaxEvents = 1000;

template <typename Request, typename Response>
Call call(std::string_view method, void (*run)(B, Visit, const Request&, Response&, Missing&)) {
  return {method, Request::descriptor(), Response::descriptor(),
          [run](B b, Visit visit, const google::protobuf::Message& request,
                google::protobuf::Message& response, Missing& missing) {
            run(b, visit, static_cast<const Request&>(request), static_cast<Response&>(response), missing);
          }};
}
template <typename Request, typename Response>
Call call(std::string_view method, void (*run)(B, Visit, const Request&, Response&)) {
  return {method, Request::descriptor(), Response::descriptor(),
          [run](B b, Visit visit, const google::protobuf::Message& request,
                google::protobuf::Message& response, Missing&) {
            run(b, visit, static_cast<const Request&>(request), static_cast<Response&>(response));
          }};
}

void find_missing_blobs(B b, Visit visit, const v1::FindMissingBlobsRequest& request,
                        v1::FindMissingBlobsResponse& response) {
  if (request.digests_size() > kMaxDigests)
    throw Error(ErrorCode::kInvalidArgument, "TOO_MANY", "more than 10,000 digests in one request", "digests",
                "Ask in several requests.");
  std::vector<Digest> digests;
  for (int i = 0; i < request.digests_size(); ++i)
    digests.push_back(Digest::parse(request.digests(i), "digests[" + std::to_string(i) + "]"));
  for (const auto& digest : blobs_of(b, visit).missing(digests)) response.add_missing(digest.hex());
}

void query_write_status(B b, Visit visit, const v1::QueryWriteStatusRequest& request,
                        v1::QueryWriteStatusResponse& response) {
  const Digest digest = Digest::parse(request.digest(), "digest");
  const TenantBlobs blobs = blobs_of(b, visit);
  response.set_complete(blobs.missing({digest}).empty());
  response.set_committed_size(blobs.committed_size(digest, request.upload_id()));
}

void list_events(B b, Visit visit, const v1::ListEventsRequest& request, v1::ListEventsResponse& response) {
  const int limit =
      request.limit() == 0 || request.limit() > kMaxEvents ? kMaxEvents : static_cast<int>(request.limit());
  for (auto& event : b.coordinator.events(visit.caller.project, request.id(), request.after(), limit))
    *response.add_events() = std::move(event);
}

v1::Token to_message(const Token& token) {
  v1::Token message;
  message.set_id(token.id);
  message.set_name(token.name);
  message.set_scope(std::string(to_string(token.scope)));
  message.set_project(token.project);
  *message.mutable_create_time() = to_timestamp(token.create_time);
  if (token.expire_time > 0) *message.mutable_expire_time() = to_timestamp(token.expire_time);
  if (token.revoke_time > 0) *message.mutable_revoke_time() = to_timestamp(token.revoke_time);
  return message;
}

void create_token(B b, Visit, const v1::CreateTokenRequest& request, v1::CreateTokenResponse& response) {
  Token asked;
  asked.name = request.name();
  asked.scope = parse_scope(request.scope());
  asked.project = request.project();
  if (request.has_expire_time()) asked.expire_time = to_time(request.expire_time());
  const auto [token, secret] = b.tokens.create(asked, b.clock.now_ms());
  *response.mutable_token() = to_message(token);
  response.set_secret(secret);
}

void list_tokens(B b, Visit visit, const v1::ListTokensRequest& request, v1::ListTokensResponse& response) {
  const PageTokens tokens(request, visit.caller.project, b.store.page_key());
  const int limit = page_size(request.page_size(), 50, 1000);
  for (const auto& token : b.tokens.list(tokens.name(), limit)) *response.add_tokens() = to_message(token);
  if (response.tokens_size() == limit)
    response.set_next_page_token(tokens.token(response.tokens(limit - 1).id()));
}

v1::System system_of(B b, const Within& project) {
  v1::System system;
  system.set_version(WRING_VERSION);
  *system.mutable_start_time() = to_timestamp(b.coordinator.start_time());
  system.set_stored_bytes(b.store.stored_bytes(project));
  const auto outputs = b.store.stage_output_totals(project);
  system.set_stage_outputs(outputs.count);
  system.set_stage_output_bytes(outputs.bytes);
  if (!project.empty()) return system;  // a blob that others have takes no room: free space tells of them
  const auto disk = b.blobs.disk();
  system.set_disk_free_bytes(disk.available);
  system.set_disk_bytes(disk.capacity);
  *system.mutable_stages() = b.coordinator.stage_sources();
  return system;
}

std::vector<Call> artifact_calls() {
  return {
      call("Artifacts/FindMissingBlobs", find_missing_blobs),
      call("Artifacts/QueryWriteStatus", query_write_status),
      call(
          "Artifacts/CommitArtifact",
          +[](B b, Visit visit, const v1::CommitArtifactRequest& request, v1::Artifact& response,
              Missing& missing) {
            const bool may_tell = is_worker(visit) || visit.caller.project.empty();
            const std::string job = may_tell && b.store.job(visit.job) ? visit.job : "";
            response = commit_artifact(request, b.clock.now_ms(), b.store, blobs_of(b, visit), job, missing);
          }),
      call(
          "Artifacts/GetArtifact",
          +[](B b, Visit visit, const v1::GetArtifactRequest& request, v1::Artifact& response) {
            response = get_artifact(request.digest(), b.store, project_of(b, visit));
          }),
      call(
          "Artifacts/ListArtifacts",
          +[](B b, Visit visit, const v1::ListArtifactsRequest& request,
              v1::ListArtifactsResponse& response) {
            response = list_artifacts(request, b.store, visit.caller.project);
          }),
      call(
          "Artifacts/SetRetention",
          +[](B b, Visit visit, const v1::SetRetentionRequest& request, v1::Artifact& response) {
            visit.object = request.digest();
            response = set_retention(request, b.clock.now_ms(), b.store, visit.caller.project);
          }),
      call(
          "Artifacts/DeleteArtifact",
          +[](B b, Visit visit, const v1::DeleteArtifactRequest& request, v1::DeleteArtifactResponse&) {
            visit.object = request.digest();
            const auto owner = owner_of(request.digest(), visit.caller.project, request.project(), b.store);
            delete_artifact(request.digest(), b.store, b.blobs, owner);
          }),
  };
}

std::vector<Call> job_calls() {
  return {
      call(
          "Jobs/SubmitJob",
          +[](B b, Visit visit, const v1::SubmitJobRequest& request, v1::Job& response) {
            response = b.coordinator.submit(visit.caller.project, request);
          }),
      call(
          "Jobs/GetJob",
          +[](B b, Visit visit, const v1::GetJobRequest& request, v1::Job& response) {
            response = b.coordinator.job(visit.caller.project, request.id());
          }),
      call(
          "Jobs/ListJobs",
          +[](B b, Visit visit, const v1::ListJobsRequest& request, v1::ListJobsResponse& response) {
            response = b.coordinator.list(visit.caller.project, request);
          }),
      call("Jobs/ListEvents", list_events),
      call(
          "Jobs/ListLogLines",
          +[](B b, Visit visit, const v1::ListLogLinesRequest& request, v1::ListLogLinesResponse& response) {
            const auto id = b.store.resolve_job(request.id(), visit.caller.project);
            for (auto& line : b.store.log_lines(id, request.after())) *response.add_lines() = std::move(line);
          }),
      call(
          "Jobs/CancelJob",
          +[](B b, Visit visit, const v1::CancelJobRequest& request, v1::Job& response) {
            visit.object = request.id();
            response = b.coordinator.cancel(visit.caller.project, request.id(), request.etag());
          }),
      call(
          "Jobs/RetryJob",
          +[](B b, Visit visit, const v1::RetryJobRequest& request, v1::Job& response) {
            visit.object = request.id();
            response = b.coordinator.retry(visit.caller.project, request.id(), request.etag());
          }),
      call(
          "Jobs/PauseJob",
          +[](B b, Visit visit, const v1::PauseJobRequest& request, v1::Job& response) {
            visit.object = request.id();
            response = b.coordinator.pause(visit.caller.project, request.id(), request.etag(), true);
          }),
      call(
          "Jobs/ResumeJob",
          +[](B b, Visit visit, const v1::ResumeJobRequest& request, v1::Job& response) {
            visit.object = request.id();
            response = b.coordinator.pause(visit.caller.project, request.id(), request.etag(), false);
          }),
      call(
          "Jobs/DeleteJob",
          +[](B b, Visit visit, const v1::DeleteJobRequest& request, v1::DeleteJobResponse&) {
            visit.object = request.id();
            b.coordinator.remove(visit.caller.project, request.id(), request.etag());
          }),
  };
}

std::vector<Call> sweep_calls() {
  return {
      call(
          "Sweeps/SubmitSweep",
          +[](B b, Visit visit, const v1::SubmitSweepRequest& request, v1::Sweep& response) {
            response = b.sweeps.submit(visit.caller.project, request);
          }),
      call(
          "Sweeps/GetSweep",
          +[](B b, Visit visit, const v1::GetSweepRequest& request, v1::Sweep& response) {
            response = b.sweeps.get(visit.caller.project, request.id());
          }),
      call(
          "Sweeps/ListSweeps",
          +[](B b, Visit visit, const v1::ListSweepsRequest& request, v1::ListSweepsResponse& response) {
            response = b.sweeps.list(visit.caller.project, request);
          }),
      call(
          "Sweeps/ListTrials",
          +[](B b, Visit visit, const v1::ListTrialsRequest& request, v1::ListTrialsResponse& response) {
            response = b.sweeps.trials(visit.caller.project, request);
          }),
      call(
          "Sweeps/QueryFront",
          +[](B b, Visit visit, const v1::QueryFrontRequest& request, v1::QueryFrontResponse& response) {
            response = b.sweeps.front(visit.caller.project, request);
          }),
      call(
          "Sweeps/QuerySavings",
          +[](B b, Visit visit, const v1::QuerySavingsRequest& request, v1::QuerySavingsResponse& response) {
            response = b.sweeps.savings(visit.caller.project, request.id());
          }),
      call(
          "Sweeps/PauseSweep",
          +[](B b, Visit visit, const v1::PauseSweepRequest& request, v1::Sweep& response) {
            visit.object = request.id();
            response = b.sweeps.pause(visit.caller.project, request.id(), request.etag(), true);
          }),
      call(
          "Sweeps/ResumeSweep",
          +[](B b, Visit visit, const v1::ResumeSweepRequest& request, v1::Sweep& response) {
            visit.object = request.id();
            response = b.sweeps.pause(visit.caller.project, request.id(), request.etag(), false);
          }),
      call(
          "Sweeps/StopSweep",
          +[](B b, Visit visit, const v1::StopSweepRequest& request, v1::Sweep& response) {
            visit.object = request.id();
            response = b.sweeps.stop(visit.caller.project, request.id(), request.etag());
          }),
      call(
          "Sweeps/CancelSweep",
          +[](B b, Visit visit, const v1::CancelSweepRequest& request, v1::Sweep& response) {
            visit.object = request.id();
            response = b.sweeps.cancel(visit.caller.project, request.id(), request.etag());
          }),
      call(
          "Sweeps/ExtendSweep",
          +[](B b, Visit visit, const v1::ExtendSweepRequest& request, v1::Sweep& response) {
            visit.object = request.id();
            response = b.sweeps.extend(visit.caller.project, request);
          }),
      call(
          "Sweeps/DeleteSweep",
          +[](B b, Visit visit, const v1::DeleteSweepRequest& request, v1::DeleteSweepResponse&) {
            visit.object = request.id();
            b.sweeps.remove(visit.caller.project, request.id(), request.etag());
          }),
  };
}

// Projects, tokens and workers.
std::vector<Call> house_calls() {
  return {
      call(
          "Projects/PauseProject",
          +[](B b, Visit visit, const v1::PauseProjectRequest& request, v1::Project& response) {
            visit.object = request.name();
            response = b.coordinator.pause_project(visit.caller.project, request.name(), true);
          }),
      call(
          "Projects/ResumeProject",
          +[](B b, Visit visit, const v1::ResumeProjectRequest& request, v1::Project& response) {
            visit.object = request.name();
            response = b.coordinator.pause_project(visit.caller.project, request.name(), false);
          }),
      call(
          "Projects/SetQuota",
          +[](B b, Visit visit, const v1::SetQuotaRequest& request, v1::Project& response) {
            visit.object = request.name();
            response = b.coordinator.set_quota(request);
          }),
      call(
          "Projects/ListProjects",
          +[](B b, Visit visit, const v1::ListProjectsRequest& request, v1::ListProjectsResponse& response) {
            response = b.coordinator.list(visit.caller.project, request);
          }),
      call("Tokens/CreateToken", create_token),
      call("Tokens/ListTokens", list_tokens),
      call(
          "Tokens/RevokeToken",
          +[](B b, Visit visit, const v1::RevokeTokenRequest& request, v1::Token& response) {
            visit.object = request.id();
            response = to_message(b.tokens.revoke(request.id(), b.clock.now_ms()));
          }),
      call(
          "Workers/ListWorkers",
          +[](B b, Visit visit, const v1::ListWorkersRequest& request, v1::ListWorkersResponse& response) {
            response = b.coordinator.list(visit.caller.project, request);
          }),
      call(
          "Workers/PauseWorker",
          +[](B b, Visit visit, const v1::PauseWorkerRequest& request, v1::Worker& response) {
            visit.object = request.id();
            response = b.coordinator.pause_worker(request.id(), true);
          }),
      call(
          "Workers/ResumeWorker",
          +[](B b, Visit visit, const v1::ResumeWorkerRequest& request, v1::Worker& response) {
            visit.object = request.id();
            response = b.coordinator.pause_worker(request.id(), false);
          }),
      call(
          "Workers/GetSystem", +[](B b, Visit visit, const v1::GetSystemRequest&,
                                   v1::System& response) { response = system_of(b, visit.caller.project); }),
  };
}

std::vector<Call> catalogue_calls() {
  return {
      call(
          "Methods/ListMethods",
          +[](B, Visit, const v1::ListMethodsRequest& request, v1::ListMethodsResponse& response) {
            response = list_methods(request);
          }),
      call(
          "Methods/GetMethod", +[](B, Visit, const v1::GetMethodRequest& request,
                                   v1::Method& response) { response = get_method(request.name()); }),
      call(
          "Methods/ValidateRecipe",
          +[](B, Visit, const v1::ValidateRecipeRequest& request, v1::ValidateRecipeResponse& response) {
            response = validate_recipe(request.recipe());
          }),
      call(
          "Evaluations/QueryEvaluations",
          +[](B b, Visit visit, const v1::QueryEvaluationsRequest& request,
              v1::QueryEvaluationsResponse& response) {
            response = query_evaluations(request, b.store, visit.caller.project);
          }),
  };
}

}  // namespace

std::span<const Call> calls() {
  static const std::vector<Call> all = [] {
    std::vector<Call> table;
    for (const auto& some : {artifact_calls(), job_calls(), sweep_calls(), house_calls(), catalogue_calls()})
      table.insert(table.end(), some.begin(), some.end());
    return table;
  }();
  return all;
}

const Call* find_call(std::string_view method) {
  const auto all = calls();
  const auto it =
      std::find_if(all.begin(), all.end(), [&](const Call& call) { return call.method == method; });
  return it == all.end() ? nullptr : &*it;
}

bool is_worker(const Door::Visit& visit) {
  return visit.caller.scope == Scope::kWorker;
}

Within project_of(const Backend& backend, const Door::Visit& visit) {
  if (!is_worker(visit)) return visit.caller.project;
  return backend.coordinator.project_for(visit.caller.id, visit.job);
}

TenantBlobs blobs_of(const Backend& backend, const Door::Visit& visit) {
  return {backend.blobs, backend.store, project_of(backend, visit), !is_worker(visit)};
}

}  // namespace wring
