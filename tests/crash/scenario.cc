// The calls that the services make, in the order in which a small site would.
#include "tests/crash/scenario.h"

#include <chrono>
#include <thread>

#include "common/error.h"
#include "formats/manifest.h"
#include "recipe/spec.h"
#include "server/api/artifact_catalogue.h"
#include "server/api/stage_outputs.h"
#include "server/auth/tenant_blobs.h"
#include "server/store/sqlite/connection.h"
#include "server/upkeep/backup.h"
#include "server/upkeep/collect.h"
#include "server/upkeep/data_lock.h"

namespace wring::crash {

namespace fs = std::filesystem;

namespace {

constexpr const char* kWorker = "w";
constexpr const char* kCertificate = "worker:w";

SchedulerOptions options() {
  SchedulerOptions options;
  options.backoff_ms = 0;
  return options;
}

std::string pause_text(bool paused) {
  return paused ? kPaused : "not paused";
}

std::string quota_text(std::uint64_t queued, std::uint64_t running, std::uint64_t bytes) {
  return std::to_string(queued) + " queued, " + std::to_string(running) + " running, " +
         std::to_string(bytes) + " bytes";
}

std::string stage_key() {
  return sha256("a stage").hex();
}

bool is_over(const v1::Sweep& sweep) {
  return sweep.state() >= v1::SWEEP_STATE_SUCCEEDED;
}

void upload_blob(BlobStore& blobs, const std::string& bytes) {
  if (blobs.renew(sha256(bytes))) return;  // as FindMissingBlobs does
  bool torn = false;
  {
    BlobStore::Upload upload(blobs, sha256(bytes), bytes.size(), "u");
    const bool resumed = upload.committed() > 0;
    constexpr std::size_t kPiece = 1000;
    while (upload.committed() < bytes.size()) {
      const auto rest = std::as_bytes(std::span(bytes)).subspan(upload.committed());
      upload.append(upload.committed(), rest.first(std::min(rest.size(), kPiece)));
    }
    try {
      upload.finish();
    } catch (const Error& error) {
      if (!resumed || error.reason() != "DIGEST_MISMATCH") throw;
      torn = true;
    }
  }
  if (torn) upload_blob(blobs, bytes);  // as the one of proto/rpc/transfer.h does
}

}  // namespace

Session::Session(const fs::path& root)
    : root_(root),
      lock_(lock_data(root / "data")),
      store_(root / "data"),
      blobs_(root / "data"),
      coordinator_(store_, clock_, metrics_, options()),
      sweeps_(store_, coordinator_, clock_),
      tokens_(store_),
      door_(store_, tokens_, clock_, {}) {}

void Session::run(Promises& promises, const std::function<void()>& acknowledged) {
  promises_ = &promises;
  acknowledged_ = acknowledged;
  model_ = put("model", {std::string(2500, 'a'), std::string(900, 'b')});
  v1::Worker worker;
  worker.set_id(kWorker);
  worker.add_devices()->set_kind("cpu");
  for (const auto* method : Catalogue::embedded().methods())
    worker.add_methods(method->name + "@" + std::to_string(method->version));
  coordinator_.register_worker(worker, "local", [](const auto&) { return true; });
  const std::string ids[] = {"9c1f3ad8-54f6-4b0e-8a3f-3a2f62c7f001", "9c1f3ad8-54f6-4b0e-8a3f-3a2f62c7f002",
                             "9c1f3ad8-54f6-4b0e-8a3f-3a2f62c7f003"};
  for (const auto& id : ids) submit(id);
  submit(ids[0]);
  issue_tokens();
  set_quota({20, 5, 1'000'000'000});
  set_quota({30, 6, 2'000'000'000});
  cancel(ids[1]);
  pause_job(ids[2], true);
  run_job();
  share_stage({std::string(1200, 's'), std::string(700, 't')});
  share_stage({std::string(1300, 'u')});  // another one under the same key
  pause_job(ids[2], false);
  pause_and_resume();
  fail_attempt();
  retain(model_);
  back_up_and_restore();
  run_job();
  run_sweep();
  discard(put("old", {std::string(1200, 'c')}));
  collect_garbage(store_, blobs_, clock_.now_ms(), 0);
  remove_job(ids[1]);
  back_up_and_restore();
}

void Session::said() {
  acknowledged_();
}

std::string Session::put(const std::string& name, const std::vector<std::string>& chunks) {
  ManifestFile file{name, 0, {}};
  for (const auto& bytes : chunks) {
    upload_blob(blobs_, bytes);
    file.chunks.push_back({sha256(bytes), bytes.size()});
    file.size += bytes.size();
  }
  v1::CommitArtifactRequest request;
  request.set_manifest_json(Manifest{"model", {file}}.canonical());
  std::vector<std::string> missing;
  const auto digest =
      commit_artifact(request, clock_.now_ms(), store_, TenantBlobs(blobs_, store_, {}), "", missing)
          .digest();
  promises_->artifacts.insert(digest);
  said();
  return digest;
}

void Session::submit(const std::string& request_id) {
  v1::SubmitJobRequest request;
  request.set_request_id(request_id);
  request.mutable_spec()->set_recipe("rtn(bits=4)");
  request.mutable_spec()->set_model(model_);
  promises_->jobs[request_id] = coordinator_.submit({}, request).id();
  said();
}

v1::LeaseJobResponse Session::lease() {
  v1::LeaseJobRequest request;
  request.set_worker_id(kWorker);
  request.add_free_devices()->set_kind("cpu");
  return coordinator_.lease(request, [] { return false; });
}

void Session::run_job() {
  const auto leased = lease();
  if (!leased.leased()) return;  // it was run before
  promises_->fence = leased.fence().n();
  said();
  v1::ReportStageRequest stage;
  stage.set_job_id(leased.job().id());
  *stage.mutable_fence() = leased.fence();
  for (const char* state : {"running", "done"}) {
    stage.mutable_stage()->set_state(state);
    coordinator_.report_stage(stage);
  }
  v1::FinishAttemptRequest end;
  end.set_job_id(leased.job().id());
  *end.mutable_fence() = leased.fence();
  end.set_outcome("succeeded");
  end.set_result(put("result", {std::string(1500, 'r') + leased.job().id()}));
  end.add_evaluations()->set_suite("size");
  coordinator_.finish(end);
  promises_->ends[leased.job().id()] = {JobPhase::kSucceeded, end.result()};
  said();
}

void Session::fail_attempt() {
  const auto leased = lease();
  if (!leased.leased()) return;
  promises_->fence = leased.fence().n();
  said();
  v1::FinishAttemptRequest end;
  end.set_job_id(leased.job().id());
  *end.mutable_fence() = leased.fence();
  end.set_outcome("failed");
  end.mutable_error()->set_code("DATA_LOSS");
  coordinator_.finish(end);
  said();
}

void Session::cancel(const std::string& request) {
  const auto id = promises_->jobs.at(request);
  if (is_terminal(store_.job(id)->record.phase)) return;
  coordinator_.cancel({}, id, "");
  promises_->ends[id] = {JobPhase::kCancelled, ""};
  said();
}

void Session::discard(const std::string& digest) {
  promises_->artifacts.erase(digest);
  said();
  delete_artifact(digest, store_, blobs_, {});
  said();
}

void Session::remove_job(const std::string& request) {
  const auto id = promises_->jobs.at(request);
  promises_->jobs.erase(request);
  promises_->ends.erase(id);
  said();
  coordinator_.remove({}, id, "");
  said();
}

void Session::retain(const std::string& digest) {
  v1::SetRetentionRequest request;
  request.set_digest(digest);
  request.set_pinned(true);
  set_retention(request, clock_.now_ms(), store_, {});
  promises_->pinned.insert(digest);
  said();
}

void Session::set(const std::string& what, const std::string& value, const std::function<void()>& change) {
  auto& values = promises_->settings[what];
  if (values.empty()) values.insert(settings(*promises_)[what]);
  values.insert(value);
  said();
  change();
  values = {value};
  said();
}

void Session::set_quota(const Quota& quota) {
  v1::SetQuotaRequest request;
  request.set_name(kDefaultProject);
  request.mutable_quota()->set_queued(quota.queued);
  request.mutable_quota()->set_running(quota.running);
  request.mutable_quota()->set_bytes(quota.bytes);
  set("quota", quota_text(quota.queued, quota.running, quota.bytes),
      [&] { coordinator_.set_quota(request); });
}

void Session::pause_job(const std::string& request, bool paused) {
  const auto id = promises_->jobs.at(request);
  if (is_terminal(store_.job(id)->record.phase)) return;
  set("job " + id, pause_text(paused), [&] { coordinator_.pause({}, id, "", paused); });
}

void Session::pause_and_resume() {
  for (const bool paused : {true, false}) {
    set("project", pause_text(paused), [&] { coordinator_.pause_project({}, kDefaultProject, paused); });
    set("worker", pause_text(paused), [&] { coordinator_.pause_worker(kWorker, paused); });
  }
}

// One stays, one is revoked; and a worker's certificate is shut out.
void Session::issue_tokens() {
  issue_token("kept", Scope::kAdmin);
  const auto id = issue_token("revoked", Scope::kSubmitter);
  set("token revoked", "TOKEN_REVOKED", [&] { tokens_.revoke(id, clock_.now_ms()); });
  set("certificate", "TOKEN_REVOKED", [&] { tokens_.revoke(kCertificate, clock_.now_ms()); });
}

// Returns its id. One whose answer nobody heard is made anew.
std::string Session::issue_token(const std::string& name, Scope scope) {
  if (const auto known = promises_->tokens.find(name); known != promises_->tokens.end())
    return tokens_.find(known->second).value().id;
  Token token;
  token.name = name;
  token.scope = scope;
  const auto [made, secret] = tokens_.create(token, clock_.now_ms());
  promises_->tokens[name] = secret;
  promises_->settings["token " + name] = {made.id};
  said();
  return made.id;
}

// As a worker does that has made the stage.
void Session::share_stage(const std::vector<std::string>& chunks) {
  const TenantBlobs blobs(blobs_, store_, kDefaultProject);
  ManifestFile file{"weights", 0, {}};
  for (const auto& bytes : chunks) {
    if (!blobs.missing({sha256(bytes)}).empty()) {
      upload_blob(blobs_, bytes);
      blobs.add(sha256(bytes), bytes.size());
    }
    file.chunks.push_back({sha256(bytes), bytes.size()});
    file.size += bytes.size();
  }
  v1::KeepStageRequest request;
  request.set_key(stage_key());
  request.set_manifest_json(Manifest{"model", {file}}.canonical());
  std::vector<std::string> missing;
  const auto kept =
      StageOutputs{store_, blobs_, metrics_}.keep(kDefaultProject, request, blobs, clock_.now_ms(), missing);
  if (promises_->stage.empty()) promises_->stage = kept.digest();
  said();
}

v1::FindStageResponse Session::find_stage() {
  return StageOutputs{store_, blobs_, metrics_}.find(kDefaultProject, stage_key(), clock_.now_ms());
}

std::string Session::who(const Credentials& credentials) const {
  try {
    return door_.identify(credentials).id;
  } catch (const Error& error) {
    return error.reason();
  }
}

std::map<std::string, std::string> Session::settings(const Promises& promises) {
  const auto project = coordinator_.list(kDefaultProject, v1::ListProjectsRequest()).projects(0);
  const auto& quota = project.quota();
  std::map<std::string, std::string> settings{
      {"project", pause_text(project.paused())},
      {"quota", quota_text(quota.queued(), quota.running(), quota.bytes())}};
  const auto workers = coordinator_.list({}, v1::ListWorkersRequest());
  for (const auto& worker : workers.workers()) settings["worker"] = pause_text(worker.paused());
  for (const auto& job : store_.jobs({})) settings["job " + job.record.id] = pause_text(job.record.paused);
  Credentials certificate;
  certificate.certificate = kCertificate;
  settings["certificate"] = who(certificate);
  for (const auto& [name, secret] : promises.tokens) {
    Credentials token;
    token.token = secret;
    settings["token " + name] = who(token);
  }
  return settings;
}

void Session::run_sweep() {
  v1::SubmitSweepRequest request;
  request.set_request_id("9c1f3ad8-54f6-4b0e-8a3f-3a2f62c7f004");
  request.mutable_spec()->set_sweep("{name: s, recipe: rtn, model: M, space: {seed: {low: 1, high: " +
                                    std::to_string(kTrials) + "}}, parallel: 1}");
  (*request.mutable_spec()->mutable_inputs())["M"] = model_;
  promises_->sweep = sweeps_.submit({}, request).id();
  said();
  while (!is_over(sweeps_.get({}, promises_->sweep))) {
    run_job();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  promises_->sweep_ended = true;
  said();
}

void Session::back_up_and_restore() {
  const auto before = promises_->artifacts;
  back_up(root_ / "data", root_ / "backup");
  promises_->in_backup = before;
  said();
  if (fs::exists(root_ / "restored" / kDatabase)) return;
  restore_backup(root_ / "backup", root_ / "restored", clock_);
  promises_->in_restored = before;
  said();
}

}  // namespace wring::crash
