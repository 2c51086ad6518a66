// Requests to the scheduler and back.
#include "server/api/coordinator.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "recipe/recipe.h"
#include "server/api/messages.h"

namespace wring {
namespace {

using namespace std::chrono_literals;
namespace v1 = wring::v1;

constexpr std::size_t kMaxRecipe = 1u << 20;

// What must be equal for a repeated request id to be the same request.
std::string request_digest(const v1::JobSpec& spec) {
  Json json{{"name", spec.name()},
            {"recipe", spec.recipe()},
            {"model", spec.model()},
            {"seed", spec.seed()},
            {"data", Json::object()}};
  for (const auto& [name, digest] : spec.data()) json["data"][name] = digest;
  json["rest"] = spec.resources().ShortDebugString() + spec.retry().ShortDebugString() +
                 std::to_string(spec.max_runtime_seconds());
  return sha256(json.dump(-1, ' ', false, Json::error_handler_t::replace)).hex();
}

JobNeeds needs_of(const v1::JobSpec& spec, const Recipe& recipe) {
  JobNeeds needs;
  if (!spec.resources().device().empty()) needs.device = spec.resources().device();
  if (needs.device != "cpu" && needs.device != "cuda")
    throw Error(ErrorCode::kInvalidArgument, "BAD_DEVICE",
                "'" + needs.device.substr(0, 40) + "' is no kind of device", "spec.resources.device",
                "cpu or cuda.");
  needs.device_count = std::max(1u, spec.resources().device_count());
  needs.memory_bytes = spec.resources().memory_bytes();
  std::set<std::string> methods;
  for (const auto& stage : recipe.stages) methods.insert(stage.method + "@" + std::to_string(stage.version));
  for (const auto& evaluation : recipe.evaluations)
    methods.insert(evaluation.suite + "@" + std::to_string(evaluation.version));
  needs.methods.assign(methods.begin(), methods.end());
  return needs;
}

}  // namespace

Coordinator::Coordinator(JobStore& store, const Clock& clock, Metrics& metrics, SchedulerOptions options)
    : store_(store), clock_(clock), metrics_(metrics) {
  state_.options = options;
  state_.epoch = store.epoch();
  for (auto& job : store.load_open_jobs()) {
    job.record.lease_until = clock.now_ms() + options.lease_ms;  // whoever holds it may go on
    restore(std::move(job.record), state_);
  }
  state_.next_sequence = std::max(state_.next_sequence, store.highest_sequence() + 1);
  state_.next_fence = std::max(state_.next_fence, store.highest_fence() + 1);
  ticker_ = std::thread([this] { tick(); });
}

Coordinator::~Coordinator() {
  stop();
  ticker_.join();
}

void Coordinator::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

void Coordinator::tick() {
  for (std::unique_lock lock(mutex_); !stopping_;) {
    changed_.wait_for(lock, 200ms, [&] { return stopping_; });
    if (stopping_) return;
    (void)apply_locked(lock, TickInput{}, {});
    lock.lock();
    std::size_t running = 0, present = 0;
    for (const auto& [id, job] : state_.jobs)
      running += job.phase == JobPhase::kRunning || job.phase == JobPhase::kCancelling;
    for (const auto& [id, worker] : state_.workers)
      present += worker.last_seen + state_.options.worker_gone_ms > clock_.now_ms();
    metrics_.queue(state_.queue.size(), running, present);
  }
}

Outcome Coordinator::apply(const SchedulerInput& input, StoreBatch batch) {
  std::unique_lock lock(mutex_);
  return apply_locked(lock, input, std::move(batch));
}

Outcome Coordinator::apply_locked(std::unique_lock<std::mutex>& lock, const SchedulerInput& input,
                                  StoreBatch batch) {
  Outcome outcome;
  try {
    outcome = step(input, clock_.now_ms(), state_);
  } catch (const Error& error) {
    if (error.reason() == "STALE_LEASE") metrics_.lease_refused_stale();
    throw;
  }
  const bool anything = !outcome.changed.empty() || !batch.stages.empty() || !batch.evaluations.empty();
  if (batch.submitted) batch.submitted->record = outcome.changed.front();
  batch.outcome = outcome;
  std::future<void> done;
  if (anything) done = store_.write(std::move(batch));  // in the order of the steps: still under the lock
  drop_ended(outcome);
  lock.unlock();
  if (!anything) return outcome;
  done.get();
  changed_.notify_all();
  return outcome;
}

void Coordinator::drop_ended(const Outcome& outcome) {
  for (const auto& job : outcome.changed) {
    if (!is_terminal(job.phase)) continue;
    metrics_.job_ended(std::string(to_string(job.phase)));
    state_.jobs.erase(job.id);
    progress_.erase(job.id);
    progress_version_.erase(job.id);
  }
}

void Coordinator::ensure_loaded(const std::string& id) {
  if (state_.jobs.contains(id)) return;
  if (auto job = store_.job(id)) restore(std::move(job->record), state_);
}

void Coordinator::check_inputs(const v1::JobSpec& spec, const std::vector<std::string>& data_names) {
  const auto known = [&](const std::string& digest, const std::string& field) {
    if (digest.size() != 64 || !store_.artifact(digest))
      throw Error(ErrorCode::kNotFound, "ARTIFACT_NOT_FOUND",
                  "there is no artifact '" + digest.substr(0, 64) + "' in the store", field,
                  "Upload it first (wring put).");
  };
  known(spec.model(), "spec.model");
  for (const auto& [name, digest] : spec.data()) known(digest, "spec.data." + name);
  for (const auto& name : data_names)
    if (!spec.data().contains(name))
      throw Error(ErrorCode::kInvalidArgument, "MISSING_DATA",
                  "the recipe reads data '" + name + "', which was not handed in", "spec.data." + name,
                  "Add --data " + name + "=PATH.");
}

v1::Job Coordinator::submit(const v1::SubmitJobRequest& request) {
  const v1::JobSpec& spec = request.spec();
  if (spec.name().size() > 200)
    throw Error(ErrorCode::kInvalidArgument, "NAME_TOO_LONG", "a name of more than 200 bytes", "spec.name");
  if (spec.recipe().size() > kMaxRecipe)
    throw Error(ErrorCode::kInvalidArgument, "RECIPE_TOO_LARGE", "a recipe of more than 1 MiB",
                "spec.recipe");
  if (request.request_id().size() > 64)
    throw Error(ErrorCode::kInvalidArgument, "BAD_REQUEST_ID", "a request id of more than 64 bytes",
                "request_id", "Take a UUID.");
  const std::string digest = request_digest(spec);
  const auto repeated = [&]() -> std::optional<v1::Job> {
    const auto known = request.request_id().empty() ? std::nullopt : store_.request(request.request_id());
    if (!known) return std::nullopt;
    if (known->second != digest)
      throw Error(ErrorCode::kAlreadyExists, "REQUEST_ID_REUSED",
                  "this request id belongs to another job (" + known->first + ")", "request_id",
                  "Take a new UUID for a new job.");
    return job(known->first);
  };
  if (auto known = repeated()) return *known;
  const Recipe recipe = parse_recipe(spec.recipe());
  check_inputs(spec, recipe.data_names());
  StoredJob stored{{}, spec, recipe.normal_form().dump(), recipe.digest().hex()};
  if (stored.spec.name().empty()) stored.spec.set_name(recipe.name);
  const JobNeeds needs = needs_of(spec, recipe);
  if (request.validate_only()) {
    stored.record.needs = needs;
    return message(stored, false);
  }
  const std::string id = random_id();
  StoreBatch batch;
  batch.submitted = std::move(stored);
  batch.request_id = request.request_id();
  batch.request_digest = digest;
  {
    static std::mutex
        one_at_a_time_per_request;  // two submits with one id must not both pass the look-up above
    const std::unique_lock once = request.request_id().empty() ? std::unique_lock<std::mutex>()
                                                               : std::unique_lock(one_at_a_time_per_request);
    if (auto known = repeated()) return *known;
    apply(SubmitInput{id, needs, spec.retry().max_attempts()}, std::move(batch));
  }
  metrics_.job_submitted();
  return job(id);
}

v1::Job Coordinator::message(const StoredJob& stored, bool whole) {
  const JobRecord& r = stored.record;
  v1::Job job;
  job.set_id(r.id);
  *job.mutable_spec() = stored.spec;
  if (!whole) job.mutable_spec()->clear_recipe();
  job.set_state(static_cast<v1::JobState>(r.phase));
  job.set_etag(std::to_string(r.version));
  *job.mutable_create_time() = to_timestamp(r.create_time);
  if (r.start_time > 0) *job.mutable_start_time() = to_timestamp(r.start_time);
  if (r.end_time > 0) *job.mutable_end_time() = to_timestamp(r.end_time);
  job.set_attempt(r.attempt);
  job.set_worker(r.worker);
  job.set_result(r.result);
  if (r.error) *job.mutable_error() = to_error_detail(*r.error);
  job.set_recipe_digest(stored.recipe_digest);
  job.set_last_event(r.last_event);
  {
    const std::lock_guard lock(mutex_);
    job.set_waiting_reason(waiting_reason(r, clock_.now_ms(), state_));
  }
  for (auto& stage : store_.stages(r.id)) {
    if (!whole) stage.clear_report_json();
    *job.add_stages() = std::move(stage);
  }
  const std::lock_guard lock(mutex_);
  if (const auto it = progress_.find(r.id); it != progress_.end())
    for (const auto& progress : it->second)
      for (auto& stage : *job.mutable_stages())
        if (stage.index() == progress.stage()) *stage.mutable_progress() = progress;
  return job;
}

v1::Job Coordinator::job(const std::string& id_or_prefix, bool whole) {
  auto stored = store_.job(id_or_prefix);
  if (!stored) stored = store_.job(store_.resolve_job(id_or_prefix));
  if (!stored)
    throw Error(ErrorCode::kNotFound, "JOB_NOT_FOUND", "there is no job " + id_or_prefix.substr(0, 80), "id");
  auto result = message(*stored, whole);
  if (whole)
    for (auto& row : store_.evaluations(stored->record.id, "", "", "", 0, 10'000, nullptr))
      *result.add_evaluations() = std::move(row);
  return result;
}

v1::ListJobsResponse Coordinator::list(const v1::ListJobsRequest& request) {
  JobFilter filter;
  filter.limit = page_size(request.page_size(), 50, 1000);
  filter.before_sequence = parse_page_token(request.page_token());
  filter.name_contains = request.name_contains();
  for (const int state : request.states()) {
    if (state < 1 || state > 6)
      throw Error(ErrorCode::kInvalidArgument, "BAD_STATE", std::to_string(state) + " is no state", "states");
    filter.phases.push_back(static_cast<JobPhase>(state));
  }
  v1::ListJobsResponse response;
  std::uint64_t last = 0;
  for (const auto& stored : store_.jobs(filter)) {
    *response.add_jobs() = message(stored, false);
    last = stored.record.sequence;
  }
  if (response.jobs_size() == filter.limit && last > 1) response.set_next_page_token(page_token(last));
  return response;
}

void Coordinator::check_etag(const std::string& id, const std::string& etag) {
  if (etag.empty()) return;
  const auto it = state_.jobs.find(id);
  if (it != state_.jobs.end() && std::to_string(it->second.version) != etag)
    throw Error(ErrorCode::kAborted, "ETAG_MISMATCH", "job " + id + " has changed since", "etag",
                "Get it again and decide anew.");
}

v1::Job Coordinator::cancel(const std::string& id_or_prefix, const std::string& etag) {
  const auto id = store_.resolve_job(id_or_prefix);
  std::unique_lock lock(mutex_);
  ensure_loaded(id);
  check_etag(id, etag);
  const auto forget = [&] {
    if (const auto it = state_.jobs.find(id); it != state_.jobs.end() && is_terminal(it->second.phase))
      state_.jobs.erase(it);
  };
  try {
    apply_locked(lock, CancelInput{id}, {});
  } catch (const Error&) {
    forget();
    throw;
  }
  if (!lock.owns_lock()) lock.lock();
  forget();
  lock.unlock();
  return job(id);
}

v1::Job Coordinator::retry(const std::string& id_or_prefix, const std::string& etag) {
  const auto id = store_.resolve_job(id_or_prefix);
  std::unique_lock lock(mutex_);
  ensure_loaded(id);
  check_etag(id, etag);
  apply_locked(lock, RetryInput{id}, {});
  return job(id);
}

void Coordinator::remove(const std::string& id_or_prefix, const std::string& etag) {
  const auto id = store_.resolve_job(id_or_prefix);
  const auto stored = store_.job(id);
  if (!stored) throw Error(ErrorCode::kNotFound, "JOB_NOT_FOUND", "there is no job " + id, "id");
  if (!etag.empty() && std::to_string(stored->record.version) != etag)
    throw Error(ErrorCode::kAborted, "ETAG_MISMATCH", "job " + id + " has changed since", "etag",
                "Get it again and decide anew.");
  if (!is_terminal(stored->record.phase))
    throw Error(ErrorCode::kFailedPrecondition, "JOB_NOT_ENDED", "job " + id + " has not ended", "id",
                "Cancel it first.");
  store_.remove_job(id);
}

std::vector<v1::Event> Coordinator::events(const std::string& id_or_prefix, std::uint64_t after, int limit) {
  std::vector<v1::Event> messages;
  for (const auto& event : store_.events(store_.resolve_job(id_or_prefix), after, limit))
    messages.push_back(to_message(event));
  return messages;
}

void Coordinator::watch(const std::string& id_or_prefix, std::uint64_t after,
                        const std::function<bool(const v1::Event*)>& sink) {
  const auto id = store_.resolve_job(id_or_prefix);
  std::uint64_t seen_progress = 0;
  for (;;) {
    for (const auto& event : store_.events(id, after, 1000)) {
      const auto sent = to_message(event);
      if (!sink(&sent)) return;
      after = event.number;
      if (is_terminal(event.phase)) return;
    }
    const auto stored = store_.job(id);
    if (!stored || (is_terminal(stored->record.phase) && stored->record.last_event <= after)) return;
    std::vector<v1::Progress> news;
    {
      std::unique_lock lock(mutex_);
      if (stopping_) return;
      changed_.wait_for(lock, 250ms);
      if (const auto it = progress_version_.find(id);
          it != progress_version_.end() && it->second != seen_progress) {
        seen_progress = it->second;
        news = progress_[id];
      }
    }
    if (!sink(nullptr)) return;
    for (const auto& progress : news) {
      v1::Event event;
      event.set_type("progress");
      event.set_state(static_cast<v1::JobState>(stored->record.phase));
      event.set_attempt(stored->record.attempt);
      *event.mutable_time() = to_timestamp(clock_.now_ms());
      *event.mutable_progress() = progress;
      if (!sink(&event)) return;
    }
  }
}

void Coordinator::register_worker(const v1::Worker& worker) {
  if (worker.id().empty() || worker.id().size() > 64)
    throw Error(ErrorCode::kInvalidArgument, "BAD_WORKER_ID", "a worker id is 1 to 64 characters",
                "worker.id");
  if (worker.methods_size() > 10'000 || worker.devices_size() > 1024)
    throw Error(ErrorCode::kInvalidArgument, "WORKER_TOO_LARGE", "too many methods or devices", "worker");
  apply(RegisterInput{to_record(worker)});
  {
    const std::lock_guard lock(mutex_);
    worker_messages_[worker.id()] = worker;
  }
  changed_.notify_all();
}

v1::LeaseJobResponse Coordinator::lease(const v1::LeaseJobRequest& request,
                                        const std::function<bool()>& gone) {
  LeaseInput input{request.worker_id(), {}};
  for (const auto& device : request.free_devices()) ++input.free_devices[device.kind()];
  const auto wait = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * std::clamp(request.wait_seconds(), 0.0, 30.0)));
  const auto until = std::chrono::steady_clock::now() + wait;
  v1::LeaseJobResponse response;
  for (;;) {
    const Outcome outcome = apply(input);
    if (outcome.leased) {
      const JobRecord& record = *outcome.leased;
      const auto stored = store_.job(record.id);
      response.set_leased(true);
      *response.mutable_job() = message(*stored, true);
      response.mutable_fence()->set_epoch(record.fence.epoch);
      response.mutable_fence()->set_n(record.fence.n);
      response.set_normal_form_json(stored->normal_form);
      for (const auto index : record.finished_stages) response.add_finished_stages(index);
      metrics_.lease_granted();
      return response;
    }
    std::unique_lock lock(mutex_);
    if (stopping_ || gone() || std::chrono::steady_clock::now() >= until) return response;
    changed_.wait_until(lock, std::min(until, std::chrono::steady_clock::now() + 500ms));
  }
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
    for (int i = 0; i < request.leases_size(); ++i) {
      const auto action = outcome.renewed[static_cast<std::size_t>(i)];
      auto* answer = response.add_answers();
      answer->set_job_id(request.leases(i).job_id());
      answer->set_action(action == LeaseAction::kContinue ? "continue"
                         : action == LeaseAction::kCancel ? "cancel"
                                                          : "lost");
      if (action == LeaseAction::kLost || request.leases(i).progress_size() == 0) continue;
      progress_[request.leases(i).job_id()].assign(request.leases(i).progress().begin(),
                                                   request.leases(i).progress().end());
      ++progress_version_[request.leases(i).job_id()];
      news = true;
    }
  }
  if (news) changed_.notify_all();
  return response;
}

void Coordinator::report_stage(const v1::ReportStageRequest& request) {
  const v1::StageStatus& stage = request.stage();
  static const std::set<std::string> kStates{"running", "done", "cached"};
  if (!kStates.contains(stage.state()))
    throw Error(ErrorCode::kInvalidArgument, "BAD_STATE",
                "'" + stage.state().substr(0, 40) + "' is no state of a stage", "stage.state",
                "running, done or cached.");
  StoreBatch batch;
  batch.stages.emplace_back(request.job_id(), stage);
  for (auto row : request.evaluations()) {
    row.set_job_id(request.job_id());
    *row.mutable_create_time() = to_timestamp(clock_.now_ms());
    batch.evaluations.push_back(std::move(row));
  }
  const Json payload{{"index", stage.index()},
                     {"name", stage.name()},
                     {"state", stage.state()},
                     {"seconds", stage.seconds()},
                     {"peak_bytes", stage.peak_bytes()}};
  apply(StageInput{request.job_id(), to_fence(request.fence()), stage.index(), stage.state(), payload},
        std::move(batch));
}

void Coordinator::finish(const v1::FinishAttemptRequest& request) {
  static const std::set<std::string> kOutcomes{"succeeded", "failed", "cancelled", "released"};
  if (!kOutcomes.contains(request.outcome()))
    throw Error(ErrorCode::kInvalidArgument, "BAD_OUTCOME",
                "'" + request.outcome().substr(0, 40) + "' is no outcome", "outcome",
                "succeeded, failed, cancelled or released.");
  if (request.outcome() == "succeeded" && !request.result().empty() && !store_.artifact(request.result()))
    throw Error(ErrorCode::kFailedPrecondition, "ARTIFACT_NOT_FOUND", "the result was not committed",
                "result", "CommitArtifact first.");
  StoreBatch batch;
  if (request.outcome() == "succeeded") {
    batch.replace_evaluations = true;
    for (auto row : request.evaluations()) {
      row.set_job_id(request.job_id());
      *row.mutable_create_time() = to_timestamp(clock_.now_ms());
      batch.evaluations.push_back(std::move(row));
    }
  }
  for (const auto& stage : request.stages()) batch.stages.emplace_back(request.job_id(), stage);
  FinishInput input{request.job_id(), to_fence(request.fence()), request.outcome(), request.result(),
                    std::nullopt};
  if (request.has_error()) input.error = to_json(request.error());
  std::unique_lock lock(mutex_);
  ensure_loaded(request.job_id());
  const auto before = state_.jobs.find(request.job_id());
  const bool ended = before != state_.jobs.end() && is_terminal(before->second.phase);
  if (ended) {  // told again: nothing may be written twice
    const JobRecord record = before->second;
    SchedulerState alone;
    restore(record, alone);
    state_.jobs.erase(before);
    (void)step(input, clock_.now_ms(), alone);  // throws STALE_LEASE unless it is the same success
    return;
  }
  apply_locked(lock, input, std::move(batch));
}

std::vector<v1::Worker> Coordinator::workers() {
  const std::lock_guard lock(mutex_);
  std::vector<v1::Worker> list;
  for (const auto& [id, record] : state_.workers) {
    v1::Worker worker = worker_messages_[id];
    *worker.mutable_last_seen() = to_timestamp(record.last_seen);
    worker.set_draining(record.draining);
    for (const auto& [job_id, job] : state_.jobs)
      if (job.worker == id && (job.phase == JobPhase::kRunning || job.phase == JobPhase::kCancelling))
        worker.add_jobs(job_id);
    list.push_back(std::move(worker));
  }
  return list;
}

}  // namespace wring
