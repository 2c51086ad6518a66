// The coordinator's calls about projects: pauses and quotas; and the pauses of workers.
#include <set>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/text.h"
#include "server/api/coordinator.h"
#include "server/api/messages.h"
#include "server/api/page_tokens.h"
#include "server/auth/tenant_blobs.h"

namespace wring {

v1::Project Coordinator::pause_project(const Within& project, const std::string& name, bool paused) {
  check_project(name, "name");
  check_within(project, name, "name");
  apply(PauseProjectInput{name, paused});
  const std::lock_guard lock(mutex_);
  return project_message(name);
}

v1::Project Coordinator::set_quota(const v1::SetQuotaRequest& request) {
  check_project(request.name(), "name");
  const v1::Quota& quota = request.quota();
  apply(QuotaInput{request.name(), {quota.queued(), quota.running(), quota.bytes()}});
  const std::lock_guard lock(mutex_);
  return project_message(request.name());
}

v1::Project Coordinator::project_message(const std::string& name) {
  const SchedulerState& state = ledger_.state();
  v1::Project project;
  project.set_name(name);
  project.set_paused(state.paused_projects.contains(name));
  if (const auto queued = state.queue.by_project().find(name); queued != state.queue.by_project().end())
    project.set_queued(queued->second);
  project.set_running(running_jobs(name, state));
  project.set_bytes(store_.read([&](Connection& db) { return bytes_of(db, name).first; }));
  if (const auto quota = state.quotas.find(name); quota != state.quotas.end()) {
    project.mutable_quota()->set_queued(quota->second.queued);
    project.mutable_quota()->set_running(quota->second.running);
    project.mutable_quota()->set_bytes(quota->second.bytes);
  }
  return project;
}

v1::ListProjectsResponse Coordinator::list(const Within& project, const v1::ListProjectsRequest& request) {
  const int limit = page_size(request.page_size(), 50, 1000);
  const PageTokens tokens(request, project, store_.page_key());
  const auto after = tokens.name();
  v1::ListProjectsResponse response;
  const std::lock_guard lock(mutex_);
  if (!project.empty()) {
    *response.add_projects() = project_message(project);
    return response;
  }
  const SchedulerState& state = ledger_.state();
  std::set<std::string> names = state.paused_projects;
  for (const auto& [name, queued] : state.queue.by_project()) names.insert(name);
  for (const auto& [key, share] : state.shares)
    if (share.running > 0) names.insert(key.first);
  for (const auto& [name, quota] : state.quotas)
    if (quota != Quota{}) names.insert(name);
  for (auto it = after ? names.upper_bound(*after) : names.begin(); it != names.end(); ++it) {
    if (response.projects_size() == limit) {
      response.set_next_page_token(tokens.token(response.projects(limit - 1).name()));
      break;
    }
    *response.add_projects() = project_message(*it);
  }
  return response;
}

v1::Worker Coordinator::pause_worker(const std::string& id_or_name, bool paused) {
  const auto id = resolve_worker(id_or_name);
  apply(PauseWorkerInput{id, paused});
  const std::lock_guard lock(mutex_);
  return worker_message({}, ledger_.state().workers.at(id)).value_or(v1::Worker());
}

std::string Coordinator::resolve_worker(const std::string& id_or_name) {
  const std::lock_guard lock(mutex_);
  if (workers_.contains(id_or_name)) return id_or_name;
  std::vector<std::string> found;
  for (const auto& [id, worker] : workers_)
    if (worker.name() == id_or_name) found.push_back(id);
  if (found.empty())
    throw Error(ErrorCode::kNotFound, "WORKER_NOT_FOUND", "there is no worker " + id_or_name.substr(0, 80),
                "id", "wring workers lists their ids and names.");
  if (found.size() > 1)
    throw Error(ErrorCode::kInvalidArgument, "AMBIGUOUS",
                "several workers are called " + id_or_name.substr(0, 80), "id",
                "Give the id of one: " + join(found, ", ") + ".");
  return found.front();
}

}  // namespace wring
