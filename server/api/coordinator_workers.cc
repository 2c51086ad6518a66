// The coordinator's calls about workers: register, lease, heartbeat, stage, finish.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <shared_mutex>

#include "common/error.h"
#include "common/log.h"
#include "common/text.h"
#include "common/utf8.h"
#include "recipe/worker_class.h"
#include "server/api/coordinator.h"
#include "server/api/messages.h"
#include "server/api/page_tokens.h"

namespace wring {
namespace {

using namespace std::chrono_literals;

constexpr double kMaxWaitSeconds = 30;
constexpr TimeMs kAfterTheEnd = 3'600'000;  // of a lease, its worker may still hand in stages
constexpr int kMaxRows = 100'000;           // evaluation rows in one request
constexpr int kMaxExports = 1000;
constexpr int kMaxDevices = 1024;
constexpr std::uint32_t kMaxStages = 10'000;
constexpr std::size_t kMaxProgressBytes = 1000;   // of one stage
constexpr std::size_t kMaxLogLine = 1000;         // bytes
constexpr int kMaxClasses = 100;                  // of a worker
constexpr std::size_t kMaxWorkerBytes = 1 << 20;  // of what a worker says of itself
constexpr std::size_t kMaxStageBytes = 16 << 20;  // of a step's status: a line of an engine's pipe

[[noreturn]] void throw_not_yours(const std::string& worker) {
  throw Error(ErrorCode::kPermissionDenied, "WORKER_NOT_YOURS",
              "worker " + worker.substr(0, 64) + " was registered with another certificate or token",
              "worker_id", "Use that one, revoke it, or give this worker a cache folder of its own.");
}

void check_word(const std::string& word, std::initializer_list<const char*> allowed, const char* reason,
                const char* field, const char* hint) {
  if (std::find(allowed.begin(), allowed.end(), word) == allowed.end())
    throw Error(ErrorCode::kInvalidArgument, reason,
                "'" + word.substr(0, 40) + "' is none of the values allowed", field, hint);
}

// The server keeps it, in memory or in each later answer about the job.
void check_size(const google::protobuf::Message& message, std::size_t most, const char* field) {
  if (message.ByteSizeLong() > most)
    throw Error(ErrorCode::kInvalidArgument, "MESSAGE_TOO_LARGE",
                "more than " + human_bytes(most) + " in one message", field);
}

template <typename Rows>
std::vector<v1::Evaluation> rows_of(const std::string& job, const Rows& rows, TimeMs now) {
  if (rows.size() > kMaxRows)
    throw Error(ErrorCode::kInvalidArgument, "TOO_MANY", "more than 100,000 rows in one request",
                "evaluations");
  std::vector<v1::Evaluation> stored(rows.begin(), rows.end());
  for (auto& row : stored) {
    if (!std::isfinite(row.value()) || !std::isfinite(row.stderr()) || !std::isfinite(row.baseline_value()) ||
        !std::isfinite(row.change_stderr()))
      throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                  row.metric() + " of " + row.suite() + " is not a finite number", "evaluations");
    row.set_job_id(job);
    if (!row.has_create_time()) *row.mutable_create_time() = to_timestamp(now);
  }
  return stored;
}

// Of the recipe: no evaluation or export, which are steps too.
bool is_stage(const v1::StageStatus& step) {
  return !step.name().starts_with("evaluate: ") && !step.name().starts_with("export: ");
}

// Of a cached step, for the metrics.
const char* source_of(const v1::StageStatus& stage) {
  if (stage.cached_in() == "project") return "project";
  return stage.cached_in() == "skipped" ? "skipped" : "worker";
}

// The newest of them, none too long.
std::vector<std::string> log_of(const v1::LeaseStatus& lease) {
  std::vector<std::string> lines;
  for (int i = std::max(0, lease.log_size() - JobStore::kLogLines); i < lease.log_size(); ++i)
    lines.push_back(valid_utf8(lease.log(i).substr(0, kMaxLogLine)));
  return lines;
}

const char* to_text(LeaseAction action) {
  switch (action) {
    case LeaseAction::kContinue:
      return "continue";
    case LeaseAction::kCancel:
      return "cancel";
    case LeaseAction::kLost:
      return "lost";
  }
  return "lost";
}

// Digests of the artifacts that a success has made, all of them committed in the job's project.
std::vector<std::string> made_by(const v1::FinishAttemptRequest& request, JobStore& store,
                                 const Within& project) {
  if (request.exports_size() > kMaxExports)
    throw Error(ErrorCode::kInvalidArgument, "TOO_MANY", "more than 1,000 exports of one job", "exports");
  std::vector<std::string> made(request.exports().begin(), request.exports().end());
  if (!request.result().empty()) made.push_back(request.result());
  for (const auto& digest : made)
    if (!store.has_artifact(digest, project))
      throw Error(ErrorCode::kAborted, "ARTIFACT_NOT_FOUND", "the result was not committed, or is gone",
                  digest == request.result() ? "result" : "exports", "CommitArtifact first.");
  return made;
}

// Whether prefix_names() names what the step makes.
bool is_prefix(const v1::StageStatus& step) {
  if (step.name().starts_with("evaluate: ")) return step.name().ends_with(" (before)") && !step.key().empty();
  return is_stage(step);
}

Reach reach_of(const v1::StageStatus& step) {
  if (step.cached_in() == "skipped") return Reach::kNowhere;
  return step.unshared() ? Reach::kNever : Reach::kComes;
}

}  // namespace

void Coordinator::count_end(const v1::StageStatus& stage) {
  if (stage.state() == "done") {
    ++made_;
    metrics_.stage_ended("made", 0, 0);
    if (is_stage(stage)) metrics_.stage_ran(stage.name(), stage.seconds());
  }
  if (stage.state() == "cached") {
    const std::string source = source_of(stage);
    ++(source == "project" ? from_project_ : source == "skipped" ? skipped_ : from_worker_);
    metrics_.stage_ended(source, static_cast<double>(stage.cached_bytes()),
                         std::max(stage.saved_seconds(), 0.0));
  }
}

v1::StageSources Coordinator::stage_sources() const {
  v1::StageSources sources;
  sources.set_made(made_);
  sources.set_from_worker(from_worker_);
  sources.set_from_project(from_project_);
  sources.set_skipped(skipped_);
  return sources;
}

void Coordinator::register_worker(const v1::Worker& worker, const std::string& caller,
                                  const std::function<bool(const std::string&)>& is_valid) {
  if (worker.id().empty() || worker.id().size() > 64)
    throw Error(ErrorCode::kInvalidArgument, "BAD_WORKER_ID", "a worker id is 1 to 64 characters",
                "worker.id");
  if (worker.slurm_job().size() > 64)
    throw Error(ErrorCode::kInvalidArgument, "BAD_SLURM_JOB", "a Slurm job's id is at most 64 characters",
                "worker.slurm_job");
  check_size(worker, kMaxWorkerBytes, "worker");
  if (worker.methods_size() > 10'000 || worker.devices_size() > kMaxDevices)
    throw Error(ErrorCode::kInvalidArgument, "WORKER_TOO_LARGE", "too many methods or devices", "worker");
  if (worker.classes_size() > kMaxClasses)
    throw Error(ErrorCode::kInvalidArgument, "WORKER_TOO_LARGE", "more than 100 classes", "worker.classes");
  for (const auto& name : worker.classes()) check_worker_class(name, "worker.classes");
  {
    const std::lock_guard lock(mutex_);
    const auto known = workers_.find(worker.id());
    const std::string other = known == workers_.end() ? "" : known->second.caller();
    if (!other.empty() && other != caller && is_valid(other)) throw_not_yours(worker.id());
  }
  StoreBatch batch;
  batch.worker = worker;
  batch.worker->set_caller(caller);
  batch.worker->clear_use();
  *batch.worker->mutable_last_seen() = to_timestamp(clock_.now_ms());
  const Outcome outcome = apply(RegisterInput{to_record(worker)}, batch);
  {
    const std::lock_guard lock(mutex_);
    for (const auto& forgotten : outcome.forgotten) workers_.erase(forgotten);
    workers_[worker.id()] = *batch.worker;
  }
  spdlog::info("worker {} ({}) is here", worker.id(), worker.name());
}

void Coordinator::check_worker(const std::string& caller, const std::string& worker) {
  const std::lock_guard lock(mutex_);
  const auto known = workers_.find(worker);
  if (known != workers_.end() && known->second.caller() != caller) throw_not_yours(worker);
}

std::optional<JobRecord> Coordinator::newest(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    const auto& jobs = ledger_.state().jobs;
    if (const auto it = jobs.find(id); it != jobs.end()) return it->second;
  }
  return load(id);
}

std::string Coordinator::project_for(const std::string& caller, const std::string& id) {
  const auto job = id.empty() ? std::nullopt : newest(id);
  const auto had_until = job ? std::max(job->end_time, job->lease_until) : 0;
  if (!job || job->worker.empty() || had_until + kAfterTheEnd < clock_.now_ms())
    throw Error(ErrorCode::kPermissionDenied, "NO_JOB", "this worker has no job '" + id.substr(0, 80) + "'",
                "job_id", "A worker calls for a job that it has leased.");
  check_worker(caller, job->worker);
  return job->project;
}

// A worker polls once at a time: a newer poll says that it is no longer at the other end of the older one,
// whose connection may not have noticed.
Coordinator::Poll::Poll(Coordinator& at, std::string worker) : at_(at), worker_(std::move(worker)) {
  const std::lock_guard lock(at_.mutex_);
  at_.polls_[worker_] = number_ = ++at_.newest_poll_;
  at_.work_.notify_all();
}

Coordinator::Poll::~Poll() {
  const std::lock_guard lock(at_.mutex_);
  if (at_.polls_[worker_] == number_) at_.polls_.erase(worker_);
}

bool Coordinator::Poll::is_newest() const {
  const std::lock_guard lock(at_.mutex_);
  return at_.polls_[worker_] == number_;
}

v1::LeaseJobResponse Coordinator::lease(const v1::LeaseJobRequest& request,
                                        const std::function<bool()>& hung_up) {
  const Poll poll(*this, request.worker_id());
  const auto gone = [&] { return hung_up() || !poll.is_newest(); };
  using Time = std::chrono::steady_clock;
  LeaseInput input{request.worker_id(), {}};
  for (const auto& device : request.free_devices()) ++input.free_devices[device.kind()];
  const double seconds = std::isfinite(request.wait_seconds()) ? request.wait_seconds() : 0;
  const auto until = Time::now() + std::chrono::duration_cast<Time::duration>(std::chrono::duration<double>(
                                       std::clamp(seconds, 0.0, kMaxWaitSeconds)));
  for (;;) {
    if (gone()) return {};  // its worker may be here again, with a job that this poll would call lost
    const Outcome outcome = apply(input);
    if (outcome.leased) {
      if (!gone()) return lease_message(*outcome.leased);
      apply(FinishInput{outcome.leased->id, outcome.leased->fence, "released", "", {}});  // nobody took it
      return {};
    }
    std::unique_lock lock(mutex_);
    if (stopping_ || Time::now() >= until) return {};
    work_.wait_until(lock, std::min(until, Time::now() + 200ms));
  }
}

v1::LeaseJobResponse Coordinator::lease_message(const JobRecord& record) {
  const auto stored = store_.job(record.id);
  if (!stored)
    throw Error(ErrorCode::kInternal, "JOB_NOT_STORED", "job " + record.id + " is leased, but not stored");
  v1::LeaseJobResponse response;
  response.set_leased(true);
  *response.mutable_job() = message(*stored, true);
  response.mutable_fence()->set_epoch(record.fence.epoch);
  response.mutable_fence()->set_n(record.fence.n);
  response.set_normal_form_json(stored->normal_form);
  response.set_request_id(record.request_id);
  metrics_.lease_granted();
  return response;
}

v1::HeartbeatResponse Coordinator::heartbeat(const v1::HeartbeatRequest& request) {
  v1::HeartbeatResponse response;
  RenewInput input{request.worker_id(), {}, request.draining()};
  for (const auto& lease : request.leases())
    input.leases.emplace_back(lease.job_id(), to_fence(lease.fence()));
  Outcome outcome;
  try {
    outcome = apply(input);
  } catch (const Error& error) {
    if (error.reason() != "WORKER_NOT_FOUND") throw;
    response.set_register_again(true);
    return response;
  }
  bool news = false;
  {
    const std::lock_guard lock(mutex_);
    const auto known = workers_.find(request.worker_id());
    if (known != workers_.end() && request.has_use() && request.use().ByteSizeLong() <= kMaxWorkerBytes)
      *known->second.mutable_use() = request.use();
    for (int i = 0; i < request.leases_size(); ++i) {
      const auto& lease = request.leases(i);
      const auto action = outcome.renewed[static_cast<std::size_t>(i)];
      auto* answer = response.add_answers();
      answer->set_job_id(lease.job_id());
      answer->set_action(to_text(action));
      if (action != LeaseAction::kLost && lease.log_size() > 0)
        store_.add_log_lines(lease.job_id(), log_of(lease), clock_.now_ms());
      if (action == LeaseAction::kLost || lease.progress_size() == 0 || !ledger_.stored_event(lease.job_id()))
        continue;
      Live& live = live_[lease.job_id()];
      for (const auto& progress : lease.progress())
        if (progress.stage() < kMaxStages && progress.ByteSizeLong() <= kMaxProgressBytes)
          live.progress[progress.stage()] = progress;
      ++live.version;
      ++progress_heard_;
      news = true;
    }
  }
  if (news) news_.notify_all();
  return response;
}

std::string Coordinator::project_of(const std::string& id, const v1::Fence& fence) {
  const auto job = newest(id);
  if (!job)
    throw Error(ErrorCode::kNotFound, "JOB_NOT_FOUND", "there is no job " + id.substr(0, 80), "job_id");
  if (job->fence == to_fence(fence)) return job->project;
  metrics_.lease_refused_stale();
  throw Error(ErrorCode::kFailedPrecondition, "STALE_LEASE", "job " + id + " has a newer lease", "fence");
}

void Coordinator::report_stage(const v1::ReportStageRequest& request) {
  const v1::StageStatus& stage = request.stage();
  check_word(stage.state(), {"pending", "running", "done", "cached"}, "BAD_STATE", "stage.state",
             "pending, running, done or cached.");
  check_size(stage, kMaxStageBytes, "stage");
  StoreBatch batch;
  batch.stages.push_back(stage);
  batch.evaluations = rows_of(request.job_id(), request.evaluations(), clock_.now_ms());
  batch.evaluations_of_stage = static_cast<int>(stage.index());
  const Json payload{{"index", stage.index()},
                     {"name", stage.name()},
                     {"state", stage.state()},
                     {"seconds", stage.seconds()},
                     {"peak_bytes", stage.peak_bytes()}};
  const auto outcome = apply(StageInput{request.job_id(), to_fence(request.fence()), stage.index(),
                                        stage.state(), payload, is_prefix(stage), reach_of(stage)},
                             std::move(batch), request.job_id());
  if (!outcome.events.empty() && !stage.key().empty()) count_end(stage);
}

void Coordinator::stage_shared(const std::string& id, const std::string& key) {
  const auto job = load(id);
  if (!job || job->prefixes.empty()) return;
  std::size_t k = 0;
  for (const auto& stage : store_.stages(id)) {
    if (!is_prefix(stage)) continue;
    if (stage.key() == key && k < job->prefixes.size()) apply(SharedInput{job->prefixes[k]});
    ++k;
  }
}

void Coordinator::finish(const v1::FinishAttemptRequest& request) {
  check_word(request.outcome(), {"succeeded", "failed", "cancelled", "released"}, "BAD_OUTCOME", "outcome",
             "succeeded, failed, cancelled or released.");
  const bool succeeded = request.outcome() == "succeeded";
  const std::shared_lock made(store_.inputs());  // it stays until the job names it
  StoreBatch batch;
  batch.stages.assign(request.stages().begin(), request.stages().end());
  for (const auto& stage : batch.stages) check_size(stage, kMaxStageBytes, "stages");
  if (succeeded) {
    batch.evaluations = rows_of(request.job_id(), request.evaluations(), clock_.now_ms());
    batch.all_evaluations = true;
    const auto job = newest(request.job_id());
    batch.made = made_by(request, store_, job ? Within(job->project) : Within());
  }
  FinishInput input{request.job_id(), to_fence(request.fence()), request.outcome(),
                    succeeded ? request.result() : "", std::nullopt};
  if (request.has_error()) input.error = to_json(request.error());
  apply(input, std::move(batch), request.job_id());
}

void Coordinator::expect_workers(WorkerRecord like) {
  const std::lock_guard lock(mutex_);
  expected_ = std::move(like);
}

std::set<std::string> Coordinator::worker_classes() {
  const std::lock_guard lock(mutex_);
  auto classes = expected_.classes;
  for (const auto& [id, worker] : workers_) classes.insert(worker.classes().begin(), worker.classes().end());
  return classes;
}

PoolDemand Coordinator::pool_demand() {
  PoolDemand demand;
  std::set<std::string> pool;
  const std::lock_guard lock(mutex_);
  const auto& state = ledger_.state();
  const TimeMs now = clock_.now_ms();
  for (const auto& [id, worker] : workers_) {
    if (worker.slurm_job().empty()) continue;
    pool.insert(id);
    const auto record = state.workers.find(id);
    if (record == state.workers.end() || record->second.last_seen + state.options.worker_gone_ms <= now)
      continue;
    demand.workers[worker.slurm_job()] |= !record->second.jobs.empty();
    if (record->second.had_job) demand.served.insert(worker.slurm_job());
  }
  demand.waiting = unserved_jobs(expected_, pool, now, state);
  return demand;
}

void Coordinator::describe_pool(std::string text) {
  const std::lock_guard lock(mutex_);
  pool_ = std::move(text);
}

std::optional<v1::Worker> Coordinator::worker_message(const Within& project,
                                                      const WorkerRecord& record) const {
  const auto known = workers_.find(record.id);
  if (known == workers_.end()) return std::nullopt;
  v1::Worker worker = known->second;
  *worker.mutable_last_seen() = to_timestamp(record.last_seen);
  worker.set_draining(record.draining);
  worker.set_paused(ledger_.state().paused_workers.contains(record.id));
  worker.clear_jobs();
  for (const auto& job : record.jobs)
    if (project.empty() || ledger_.state().jobs.at(job).project == project) worker.add_jobs(job);
  return worker;
}

v1::ListWorkersResponse Coordinator::list(const Within& project, const v1::ListWorkersRequest& request) {
  const int limit = page_size(request.page_size(), 50, 1000);
  const PageTokens tokens(request, project, store_.page_key());
  const auto after = tokens.name();
  v1::ListWorkersResponse response;
  const std::lock_guard lock(mutex_);
  const auto& workers = ledger_.state().workers;
  for (auto it = after ? workers.upper_bound(*after) : workers.begin(); it != workers.end(); ++it) {
    const auto& [id, record] = *it;
    auto worker = worker_message(project, record);
    if (!worker) continue;
    if (response.workers_size() == limit) {
      response.set_next_page_token(tokens.token(response.workers(limit - 1).id()));
      break;
    }
    *response.add_workers() = std::move(*worker);
  }
  return response;
}

}  // namespace wring
