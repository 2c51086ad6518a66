// The connection, and the calls that are one question and one answer.
#include "client/client.h"

#include <chrono>

#include "client/connection.h"
#include "common/files.h"
#include "proto/rpc/channel.h"

namespace wring {

Connection::Connection(const ClientConfig& settings) : config(settings) {
  if (config.server.empty())
    throw Error(ErrorCode::kInvalidArgument, "NO_SERVER", "no server is known", "--server",
                "wring up starts one here; or give --server HOST:PORT, WRING_SERVER, or `server:` in " +
                    client_config_path().string() + ".");
  ChannelSecurity security;
  security.token = config.token;
  if (!config.ca.empty()) security.ca = read_file(config.ca, 1u << 20);
  channel = make_channel(config.server, security);
  jobs = v1::Jobs::NewStub(channel);
  artifacts = v1::Artifacts::NewStub(channel);
  methods = v1::Methods::NewStub(channel);
  projects = v1::Projects::NewStub(channel);
  sweeps = v1::Sweeps::NewStub(channel);
  tokens = v1::Tokens::NewStub(channel);
  workers = v1::Workers::NewStub(channel);
  evaluations = v1::Evaluations::NewStub(channel);
}

void Connection::prepare(grpc::ClientContext& context, double seconds) const {
  if (seconds > 0)
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000)));
}

Error Connection::error(const grpc::Status& status) const {
  const auto code = status.error_code();
  if (code != grpc::StatusCode::UNAVAILABLE && code != grpc::StatusCode::CANCELLED)
    return from_status(status);
  const auto from = config.source.empty() ? "" : " (from " + config.source + ")";
  return Error(ErrorCode::kUnavailable, "SERVER_AWAY",
               "the server " + config.server + from + " cannot be reached: " + status.error_message(), "",
               "wring doctor shows what is configured; wring up starts a server here.");
}

Client::Client(const ClientConfig& config) : connection_(std::make_unique<Connection>(config)) {}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

const std::string& Client::server() const {
  return connection_->config.server;
}

bool Client::ready(double seconds) {
  const auto deadline =
      std::chrono::system_clock::now() + std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
  if (!connection_->channel->WaitForConnected(deadline)) return false;
  grpc::ClientContext context;
  connection_->prepare(context, seconds);
  v1::ListMethodsResponse answer;
  const auto status = connection_->methods->ListMethods(&context, {}, &answer);
  return status.ok() || status.error_code() == grpc::StatusCode::UNAUTHENTICATED;  // it serves, others
}

v1::Job Client::submit(const v1::JobSpec& spec, const std::string& request_id) {
  v1::SubmitJobRequest request;
  *request.mutable_spec() = spec;
  request.set_request_id(request_id);
  return connection_->call(*connection_->jobs, &v1::Jobs::Stub::SubmitJob, request);
}

v1::Job Client::get(const std::string& id) {
  v1::GetJobRequest request;
  request.set_id(id);
  return connection_->call(*connection_->jobs, &v1::Jobs::Stub::GetJob, request);
}

v1::ListJobsResponse Client::list(const v1::ListJobsRequest& request) {
  return connection_->call(*connection_->jobs, &v1::Jobs::Stub::ListJobs, request);
}

v1::Job Client::cancel(const std::string& id) {
  v1::CancelJobRequest request;
  request.set_id(get(id).id());  // a prefix will do
  return connection_->call(*connection_->jobs, &v1::Jobs::Stub::CancelJob, request);
}

v1::Job Client::retry(const std::string& id) {
  v1::RetryJobRequest request;
  request.set_id(get(id).id());
  return connection_->call(*connection_->jobs, &v1::Jobs::Stub::RetryJob, request);
}

v1::Job Client::pause_job(const std::string& id) {
  v1::PauseJobRequest request;
  request.set_id(get(id).id());
  return connection_->call(*connection_->jobs, &v1::Jobs::Stub::PauseJob, request);
}

v1::Job Client::resume_job(const std::string& id) {
  v1::ResumeJobRequest request;
  request.set_id(get(id).id());
  return connection_->call(*connection_->jobs, &v1::Jobs::Stub::ResumeJob, request);
}

v1::Project Client::pause_project(const std::string& name) {
  v1::PauseProjectRequest request;
  request.set_name(name);
  return connection_->call(*connection_->projects, &v1::Projects::Stub::PauseProject, request);
}

v1::Project Client::resume_project(const std::string& name) {
  v1::ResumeProjectRequest request;
  request.set_name(name);
  return connection_->call(*connection_->projects, &v1::Projects::Stub::ResumeProject, request);
}

v1::Worker Client::pause_worker(const std::string& id_or_name) {
  v1::PauseWorkerRequest request;
  request.set_id(id_or_name);
  return connection_->call(*connection_->workers, &v1::Workers::Stub::PauseWorker, request);
}

v1::Worker Client::resume_worker(const std::string& id_or_name) {
  v1::ResumeWorkerRequest request;
  request.set_id(id_or_name);
  return connection_->call(*connection_->workers, &v1::Workers::Stub::ResumeWorker, request);
}

std::vector<v1::Project> Client::projects() {
  std::vector<v1::Project> projects;
  v1::ListProjectsRequest request;
  request.set_page_size(1000);
  do {
    const auto page = connection_->call(*connection_->projects, &v1::Projects::Stub::ListProjects, request);
    projects.insert(projects.end(), page.projects().begin(), page.projects().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return projects;
}

v1::Project Client::set_quota(const v1::SetQuotaRequest& request) {
  return connection_->call(*connection_->projects, &v1::Projects::Stub::SetQuota, request);
}

v1::CreateTokenResponse Client::create_token(const v1::CreateTokenRequest& request) {
  return connection_->call(*connection_->tokens, &v1::Tokens::Stub::CreateToken, request);
}

std::vector<v1::Token> Client::tokens() {
  std::vector<v1::Token> tokens;
  v1::ListTokensRequest request;
  request.set_page_size(1000);
  do {
    const auto page = connection_->call(*connection_->tokens, &v1::Tokens::Stub::ListTokens, request);
    tokens.insert(tokens.end(), page.tokens().begin(), page.tokens().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return tokens;
}

v1::Token Client::revoke_token(const std::string& id) {
  v1::RevokeTokenRequest request;
  request.set_id(id);
  return connection_->call(*connection_->tokens, &v1::Tokens::Stub::RevokeToken, request);
}

void Client::remove(const std::string& id) {
  v1::DeleteJobRequest request;
  request.set_id(get(id).id());
  connection_->call(*connection_->jobs, &v1::Jobs::Stub::DeleteJob, request);
}

v1::ValidateRecipeResponse Client::validate(const std::string& recipe) {
  v1::ValidateRecipeRequest request;
  request.set_recipe(recipe);
  return connection_->call(*connection_->methods, &v1::Methods::Stub::ValidateRecipe, request);
}

std::string Client::catalogue_digest() {
  v1::ListMethodsRequest request;
  request.set_page_size(1);  // every page says it
  return connection_->call(*connection_->methods, &v1::Methods::Stub::ListMethods, request)
      .catalogue_digest();
}

std::vector<v1::Worker> Client::workers() {
  std::vector<v1::Worker> workers;
  v1::ListWorkersRequest request;
  request.set_page_size(1000);
  do {
    const auto page = connection_->call(*connection_->workers, &v1::Workers::Stub::ListWorkers, request);
    workers.insert(workers.end(), page.workers().begin(), page.workers().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return workers;
}

v1::QueryEvaluationsResponse Client::evaluations(const v1::QueryEvaluationsRequest& request) {
  return connection_->call(*connection_->evaluations, &v1::Evaluations::Stub::QueryEvaluations, request);
}

v1::Artifact Client::artifact(const std::string& digest) {
  v1::GetArtifactRequest request;
  request.set_digest(digest.starts_with("sha256:") ? digest.substr(7) : digest);
  return connection_->call(*connection_->artifacts, &v1::Artifacts::Stub::GetArtifact, request);
}

v1::Artifact Client::set_retention(const v1::SetRetentionRequest& request) {
  return connection_->call(*connection_->artifacts, &v1::Artifacts::Stub::SetRetention, request);
}

void Client::remove_artifact(const std::string& digest, const std::string& project) {
  v1::DeleteArtifactRequest request;
  request.set_project(project);
  request.set_digest(artifact(digest).digest());
  connection_->call(*connection_->artifacts, &v1::Artifacts::Stub::DeleteArtifact, request);
}

v1::ListArtifactsResponse Client::artifacts(const v1::ListArtifactsRequest& request) {
  return connection_->call(*connection_->artifacts, &v1::Artifacts::Stub::ListArtifacts, request);
}

}  // namespace wring
