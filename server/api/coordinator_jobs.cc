// The coordinator's calls about jobs: submit, read, list, cancel, retry, delete, watch.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <shared_mutex>
#include <utility>

#include "common/digest.h"
#include "common/error.h"
#include "common/log.h"
#include "common/text.h"
#include "formats/manifest.h"
#include "formats/model_kind.h"
#include "proto/rpc/channel.h"
#include "recipe/model_kind.h"
#include "recipe/processes.h"
#include "recipe/recipe.h"
#include "recipe/recipe_input.h"
#include "recipe/stage_key.h"
#include "recipe/worker_class.h"
#include "server/api/artifact_catalogue.h"
#include "server/api/coordinator.h"
#include "server/api/messages.h"
#include "server/api/page_tokens.h"
#include "server/auth/tenant_blobs.h"
#include "server/scheduler/waiting.h"
#include "server/store/audit_rows.h"
#include "server/store/sweep_rows.h"

namespace wring {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMaxRecipe = 1u << 20;
constexpr std::size_t kMaxAhead = 1000, kMaxAheadInLists = 100;  // one step each, under the lock
constexpr int kMaxRows = 10'000;                                 // evaluation rows in one Job

void refuse(const char* reason, const char* message, const char* field) {
  throw Error(ErrorCode::kInvalidArgument, reason, message, field);
}

void check_request(const v1::SubmitJobRequest& request) {
  const v1::JobSpec& spec = request.spec();
  if (spec.name().size() > 200) refuse("NAME_TOO_LONG", "a name of more than 200 bytes", "spec.name");
  if (spec.recipe().size() > kMaxRecipe)
    refuse("RECIPE_TOO_LARGE", "a recipe of more than 1 MiB", "spec.recipe");
  check_request_id(request.request_id());
  if (!spec.project().empty()) check_project(spec.project(), "spec.project");
  check_retention(spec.retention(), "spec.retention");
  check_job_settings(spec);
}

// Rounded up: what is not none stays so.
TimeMs in_ms(double seconds) {
  return static_cast<TimeMs>(std::ceil(seconds * 1000));
}

JobNeeds needs_of(const v1::Resources& resources) {
  JobNeeds needs;
  if (!resources.device().empty()) needs.device = resources.device();
  if (needs.device != "cpu" && needs.device != "cuda")
    throw Error(ErrorCode::kInvalidArgument, "BAD_DEVICE",
                "'" + needs.device.substr(0, 40) + "' is no kind of device", "spec.resources.device",
                "cpu or cuda.");
  if (resources.device_count() > 1)  // they would be reserved, and lie idle
    throw Error(ErrorCode::kInvalidArgument, "OUT_OF_RANGE", "a process of the engine runs on one device",
                "spec.resources.device_count",
                "Leave it out, and set processes: each has a device of its own.");
  const int processes = checked_processes(resources.processes(), "spec.resources.processes");
  if (needs.device == "cuda") needs.device_count = static_cast<std::uint32_t>(processes);
  needs.memory_bytes = resources.memory_bytes();
  needs.worker_class = resources.worker_class();
  if (!needs.worker_class.empty()) check_worker_class(needs.worker_class, "spec.resources.worker_class");
  return needs;
}

JobNeeds needs_of(const v1::JobSpec& spec, const Recipe& recipe) {
  JobNeeds needs = needs_of(spec.resources());
  std::set<std::string> methods;
  for (const auto& stage : recipe.stages) methods.insert(stage.method + "@" + std::to_string(stage.version));
  for (const auto& evaluation : recipe.evaluations)
    methods.insert(evaluation.suite + "@" + std::to_string(evaluation.version));
  if (spec.plan_only()) methods.insert(kPlanOnly);
  needs.methods.assign(methods.begin(), methods.end());
  return needs;
}

// A recipe in one line is a name, too.
std::string line_of(const std::string& recipe) {
  return recipe.find('\n') == std::string::npos ? recipe.substr(0, 60) : "";
}

// Of a trial: others of its sweep begin the same way. Projects share nothing.
std::vector<std::string> prefixes_of(const StoredJob& job, const Recipe& recipe) {
  StageKeyInputs inputs;
  inputs.input = Digest::parse(job.spec.model(), "spec.model");
  for (const auto& [name, digest] : job.spec.data())
    inputs.data[name] = Digest::parse(digest, "spec.data." + name);
  inputs.seed = job.spec.seed();
  inputs.device_class = job.record.needs.device;
  inputs.processes = checked_processes(job.spec.resources().processes(), "spec.resources.processes");
  std::vector<std::string> names;
  for (const auto& name : prefix_names(recipe, inputs))
    names.push_back(sha256(job.record.project + name.hex()).hex());
  return names;
}

// Waits for its turn with a request id.
class OneSubmit {
 public:
  OneSubmit(std::mutex& mutex, std::condition_variable& changed, Ledger& ledger, const std::string& id)
      : mutex_(mutex), changed_(changed), ledger_(ledger), id_(id) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ledger_.begin_submit(id_); });
  }
  ~OneSubmit() {
    {
      const std::lock_guard lock(mutex_);
      ledger_.end_submit(id_);
    }
    changed_.notify_all();
  }
  OneSubmit(const OneSubmit&) = delete;
  OneSubmit& operator=(const OneSubmit&) = delete;

 private:
  std::mutex& mutex_;
  std::condition_variable& changed_;
  Ledger& ledger_;
  const std::string& id_;
};

v1::Event progress_event(const JobRecord& record, const v1::Progress& progress, TimeMs now) {
  v1::Event event;
  event.set_type("progress");
  event.set_state(static_cast<v1::JobState>(record.phase));
  event.set_attempt(record.attempt);
  *event.mutable_time() = to_timestamp(now);
  *event.mutable_progress() = progress;
  return event;
}

// What a model may be, as far as the names of its files say.
std::vector<std::string> kinds_of(const Manifest& model) {
  std::vector<std::string> paths;
  for (const auto& file : model.files) paths.push_back(file.path);
  if (holds_graph(paths)) return {"graph"};
  return {"decoder-lm", "encoder"};
}

bool ever_leased(const JobRecord& job) {  // else it has no stages
  return job.fence.n > 0;
}

void check_state(int state) {
  if (state >= v1::JOB_STATE_QUEUED && state <= v1::JOB_STATE_CANCELLED) return;
  std::vector<std::string> names;
  for (int i = v1::JOB_STATE_QUEUED; i <= v1::JOB_STATE_CANCELLED; ++i)
    names.push_back(v1::JobState_Name(static_cast<v1::JobState>(i)));
  throw Error(ErrorCode::kInvalidArgument, "BAD_STATE", std::to_string(state) + " is no state", "states",
              "Any of " + join(names, ", ") + "; without `states` jobs of all are listed.");
}

}  // namespace

void check_job_settings(const v1::JobSpec& spec) {
  const auto check_time = [&](double seconds, const char* field) {
    if (!(seconds >= 0 && seconds <= 1e9))
      refuse("OUT_OF_RANGE", "a time limit is 0 (none) to 1e9 seconds", field);
  };
  check_time(spec.max_runtime_seconds(), "spec.max_runtime_seconds");
  check_time(spec.queued_timeout_seconds(), "spec.queued_timeout_seconds");
  check_time(spec.total_timeout_seconds(), "spec.total_timeout_seconds");
  if (spec.retry().max_attempts() > 1000)
    refuse("OUT_OF_RANGE", "at most 1,000 attempts", "spec.retry.max_attempts");
  if (spec.priority() < -100 || spec.priority() > 100)
    refuse("OUT_OF_RANGE", "a priority is -100 to 100", "spec.priority");
  needs_of(spec.resources());
}

void Coordinator::check_inputs(const Within& project, const v1::JobSpec& spec,
                               const std::vector<std::string>& data_names) {
  const auto known = [&](const std::string& digest, const std::string& field) {
    if (!store_.has_artifact(digest, project))
      throw Error(ErrorCode::kNotFound, "ARTIFACT_NOT_FOUND",
                  "there is no artifact '" + digest.substr(0, 64) + "' in the store", field,
                  "Upload it first (wring put).");
  };
  known(spec.model(), "spec.model");
  for (const auto& [name, digest] : spec.data()) {
    check_data_name(name, data_names, "spec.data." + name);
    known(digest, "spec.data." + name);
  }
  check_data_is_there(
      data_names, [&](const auto& name) { return spec.data().contains(name); }, "spec.data");
}

std::vector<std::string> Coordinator::kinds_of_model(const Within& project, const std::string& digest) {
  constexpr std::size_t kRemembered = 1000;
  const std::lock_guard lock(kinds_mutex_);
  if (const auto known = kinds_.find(digest); known != kinds_.end()) return known->second;
  const auto model = store_.artifact(digest, project);
  if (!model) return {};  // deleted since it was looked for: the worker says so
  if (kinds_.size() >= kRemembered) kinds_.clear();
  return kinds_[digest] = kinds_of(Manifest::parse(model->manifest_json()));
}

void Coordinator::check_model(const Within& project, const std::string& digest, const Recipe& recipe) {
  const auto kinds = kinds_of_model(project, digest);
  if (!kinds.empty()) check_model_kind(recipe, kinds);
}

std::optional<v1::Job> Coordinator::job_of_request(const std::string& request_id, const std::string& digest) {
  if (request_id.empty()) return std::nullopt;
  const auto known = submitted_before(store_.request(request_id), digest);
  if (!known) return std::nullopt;
  AuditNote::about(*known);
  return job({}, *known);
}

void Coordinator::check_bytes(const std::string& project) {
  {
    const std::lock_guard lock(mutex_);
    const auto& quotas = ledger_.state().quotas;
    if (const auto it = quotas.find(project); it == quotas.end() || it->second.bytes == 0) return;
  }
  const auto [bytes, most] = store_.read([&](Connection& db) { return bytes_of(db, project); });
  if (most > 0 && bytes >= most) throw_over_bytes(project, bytes, most);
}

v1::Job Coordinator::submit(const Within& project, const v1::SubmitJobRequest& request,
                            std::optional<NewTrial> trial) {
  if (request.validate_only()) AuditNote::nothing();
  check_request(request);
  const v1::JobSpec& spec = request.spec();
  if (!spec.project().empty()) check_within(project, spec.project(), "spec.project");
  const std::string digest = request_digest(spec);
  const std::string request_id = request_key(project, request.request_id());
  const OneSubmit once(mutex_, submitted_, ledger_, request_id);
  if (auto known = job_of_request(request_id, digest)) return *known;
  const auto read = recipes_.of(spec.recipe());
  const Recipe& recipe = read->recipe;
  check_reads_no_file(recipe);
  if (!request.validate_only()) store_.check_space();
  const std::shared_lock inputs(store_.inputs());  // they stay until the job is stored
  check_inputs(project, spec, recipe.data_names());
  check_model(project, spec.model(), recipe);
  StoredJob stored{{}, spec, read->normal_form, read->digest};
  if (stored.spec.name().empty())
    stored.spec.set_name(recipe.name.empty() ? line_of(spec.recipe()) : recipe.name);
  if (!project.empty()) stored.record.project = project;
  if (!spec.project().empty()) stored.record.project = spec.project();
  check_bytes(stored.record.project);
  stored.record.needs = needs_of(spec, recipe);
  if (request.validate_only()) return message(stored, false);
  const SubmitInput input{ids_.next(clock_.now_ms()),
                          stored.record.needs,
                          spec.retry().max_attempts(),
                          spec.priority(),
                          stored.record.project,
                          in_ms(spec.queued_timeout_seconds()),
                          in_ms(spec.total_timeout_seconds()),
                          trial ? prefixes_of(stored, recipe) : std::vector<std::string>{},
                          LogScope::id_of("request"),
                          in_ms(spec.max_runtime_seconds())};
  AuditNote::about(input.id);
  StoreBatch batch;
  batch.submitted = stored;
  batch.request_id = request_id;
  batch.request_digest = digest;
  batch.trial = std::move(trial);
  stored.record = apply(input, std::move(batch)).changed.front();
  metrics_.job_submitted();
  return message(stored, true);
}

v1::Job Coordinator::message(const StoredJob& stored, bool whole) {
  return message(stored, ever_leased(stored.record) ? store_.stages(stored.record.id) : Stages(), whole);
}

v1::Job Coordinator::message(const StoredJob& stored, Stages stages, bool whole) {
  const JobRecord& r = stored.record;
  v1::Job job;
  job.set_id(r.id);
  *job.mutable_spec() = stored.spec;
  job.mutable_spec()->set_project(r.project);
  if (!whole) job.mutable_spec()->clear_recipe();
  job.set_state(static_cast<v1::JobState>(r.phase));
  job.set_paused(r.paused);
  job.set_etag(std::to_string(r.version));
  if (r.create_time > 0) *job.mutable_create_time() = to_timestamp(r.create_time);
  if (r.start_time > 0) *job.mutable_start_time() = to_timestamp(r.start_time);
  if (r.end_time > 0) *job.mutable_end_time() = to_timestamp(r.end_time);
  job.set_attempt(r.attempt);
  job.set_worker(r.worker);
  job.set_result(r.result);
  if (r.error) *job.mutable_error() = to_error_detail(*r.error);
  job.set_recipe_digest(stored.recipe_digest);
  job.set_last_event(r.last_event);
  const bool held = r.phase == JobPhase::kRunning || r.phase == JobPhase::kCancelling;
  for (auto& stage : stages) {
    if (!whole) stage.clear_report_json();
    if (!held && stage.state() == "running") stage.set_state("pending");  // an attempt that did not end it
    *job.add_stages() = std::move(stage);
  }
  const std::lock_guard lock(mutex_);
  job.set_waiting_reason(waiting_reason(r, clock_.now_ms(), ledger_.state()));
  job.set_ahead(
      static_cast<std::uint32_t>(ledger_.state().queue.ahead_of(r, whole ? kMaxAhead : kMaxAheadInLists)));
  if (!pool_.empty() && lacks_worker_of(expected_, r.needs, job.waiting_reason()))
    job.set_waiting_reason(pool_);
  if (const auto live = live_.find(r.id); live != live_.end())
    for (auto& stage : *job.mutable_stages())
      if (const auto it = live->second.progress.find(stage.index()); it != live->second.progress.end())
        *stage.mutable_progress() = it->second;
  return job;
}

v1::Job Coordinator::job(const Within& project, const std::string& id_or_prefix) {
  const auto stored = store_.job(store_.resolve_job(id_or_prefix, project));
  if (!stored)  // deleted in between
    throw Error(ErrorCode::kNotFound, "JOB_NOT_FOUND", "there is no job " + id_or_prefix.substr(0, 80), "id");
  auto result = message(*stored, true);
  if (const auto trial = store_.read([&](Connection& db) { return trial_of_job(db, stored->record.id); })) {
    result.set_sweep(trial->first);
    result.set_trial(trial->second);
  }
  EvaluationFilter rows;
  rows.job = stored->record.id;
  rows.limit = kMaxRows;
  for (auto& row : store_.evaluations(rows).rows) *result.add_evaluations() = std::move(row);
  return result;
}

v1::ListJobsResponse Coordinator::list(const Within& project, const v1::ListJobsRequest& request) {
  JobFilter filter;
  filter.limit = page_size(request.page_size(), 50, 1000);
  const PageTokens tokens(request, project, store_.page_key());
  filter.before_sequence = tokens.position();
  filter.name_contains = request.name_contains();
  filter.model = request.model();
  if (!request.sweep().empty() && request.no_trials())
    throw Error(ErrorCode::kInvalidArgument, "CONTRADICTORY_FILTER", "a sweep's jobs are all trials",
                "no_trials", "Leave out one of sweep and no_trials.");
  filter.no_trials = request.no_trials();
  if (!request.sweep().empty())
    filter.sweep =
        store_.read([&](Connection& db) { return resolve_sweep(db, request.sweep(), project, "sweep"); });
  if (!request.project().empty()) check_project(request.project(), "project");
  filter.project = request.project().empty() ? project : request.project();
  if (!project.empty() && filter.project != project) return {};
  for (const int state : request.states()) {
    check_state(state);
    filter.phases.push_back(static_cast<JobPhase>(state));
  }
  v1::ListJobsResponse response;
  std::uint64_t last = 0;
  const auto jobs = store_.jobs(filter);
  std::vector<std::string> leased;
  for (const auto& stored : jobs)
    if (ever_leased(stored.record)) leased.push_back(stored.record.id);
  auto stages = store_.stages(leased);
  for (const auto& stored : jobs) {
    *response.add_jobs() = message(stored, std::move(stages[stored.record.id]), false);
    last = stored.record.sequence;
  }
  if (response.jobs_size() == filter.limit && last > 1) response.set_next_page_token(tokens.token(last));
  return response;
}

std::string Coordinator::resolve_to_change(const std::string& id_or_prefix, const Within& project) {
  auto id = store_.resolve_job(id_or_prefix, project);
  AuditNote::about(id);
  return id;
}

v1::Job Coordinator::cancel(const Within& project, const std::string& id_or_prefix, const std::string& etag) {
  const auto id = resolve_to_change(id_or_prefix, project);
  apply(CancelInput{id}, {}, id, etag);
  return job({}, id);
}

v1::Job Coordinator::retry(const Within& project, const std::string& id_or_prefix, const std::string& etag) {
  const auto id = resolve_to_change(id_or_prefix, project);
  const std::shared_lock inputs(store_.inputs());  // they stay until the job is in the queue
  const v1::JobSpec spec = job({}, id).spec();
  check_inputs(spec.project(), spec, recipes_.of(spec.recipe())->recipe.data_names());
  apply(RetryInput{id}, {}, id, etag);
  return job({}, id);
}

v1::Job Coordinator::pause(const Within& project, const std::string& id_or_prefix, const std::string& etag,
                           bool paused) {
  const auto id = resolve_to_change(id_or_prefix, project);
  apply(PauseJobInput{id, paused}, {}, id, etag);
  return job({}, id);
}

void Coordinator::remove(const Within& project, const std::string& id_or_prefix, const std::string& etag) {
  const auto id = resolve_to_change(id_or_prefix, project);
  {
    const std::lock_guard lock(mutex_);
    ledger_.begin_remove(id, etag, [this](const auto& job) { return load(job); });
  }
  const auto end = [&] {
    const std::lock_guard lock(mutex_);
    ledger_.end_remove(id);
    live_.erase(id);
  };
  try {
    store_.remove_job(id);
  } catch (...) {
    end();
    throw;
  }
  end();
  news_.notify_all();
}

std::vector<v1::Event> Coordinator::events(const Within& project, const std::string& id_or_prefix,
                                           std::uint64_t after, int limit) {
  std::vector<v1::Event> messages;
  for (const auto& event : store_.events(store_.resolve_job(id_or_prefix, project), after, limit))
    messages.push_back(to_message(event));
  return messages;
}

void Coordinator::watch(const Within& project, const std::string& id_or_prefix, std::uint64_t after,
                        const std::function<bool(const v1::Event*)>& sink) {
  const auto id = store_.resolve_job(id_or_prefix, project);
  for (std::uint64_t seen_progress = 0;;) {
    for (bool more = true; more;) {
      const auto page = store_.events(id, after, 1000);
      for (const auto& event : page) {
        const auto sent = to_message(event);
        if (!sink(&sent)) return;
        after = event.number;
      }
      more = page.size() == 1000;
    }
    const auto stored = store_.job(id);
    if (!stored || (is_terminal(stored->record.phase) && stored->record.last_event <= after)) return;
    std::vector<v1::Event> progress;
    {
      std::unique_lock lock(mutex_);
      const auto news = [&] {
        const auto stored_event = ledger_.stored_event(id);
        const auto live = live_.find(id);
        return stopping_ || !stored_event || *stored_event > after ||
               (live != live_.end() && live->second.version != seen_progress);
      };
      news_.wait_for(lock, 500ms, news);
      if (stopping_) throw Error(ErrorCode::kUnavailable, "SHUTTING_DOWN", "the server stops");
      if (const auto live = live_.find(id); live != live_.end()) {
        if (std::exchange(seen_progress, live->second.version) != seen_progress)
          for (const auto& [stage, newest] : live->second.progress)
            progress.push_back(progress_event(stored->record, newest, clock_.now_ms()));
      }
    }
    if (!sink(nullptr)) return;
    for (const auto& event : progress)
      if (!sink(&event)) return;
  }
}

}  // namespace wring
