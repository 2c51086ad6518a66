// The way of an attempt, from the inputs to FinishAttempt.
#include "worker/attempt.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/text.h"
#include "formats/manifest.h"
#include "worker/engine.h"
#include "worker/error_detail.h"
#include "worker/inputs.h"
#include "worker/stage_cache.h"
#include "worker/upload.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

std::uint64_t smaller_limit(std::uint64_t a, std::uint64_t b) {
  return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b);
}

// The same steps would fail again: nobody goes on from their snapshots. With other limits of time or memory
// they may not.
bool is_users_to_mend(const v1::ErrorDetail& error) {
  switch (error_code_from_string(error.code())) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kOutOfRange:
    case ErrorCode::kUnimplemented:
      return true;
    default:
      return false;
  }
}

class Attempt final : public EngineListener {
 public:
  Attempt(const Workplace& workplace, const v1::LeaseJobResponse& lease, const v1::Device& device,
          StopSignal& stop)
      : at_(workplace),
        job_(lease.job()),
        lease_(lease),
        device_(device),
        stop_(stop),
        scratch_(workplace.cache.work()),
        coordinator_(workplace.coordinator.for_job(job_.id())),
        inputs_(coordinator_, workplace.cache, scratch_.path(), stop),
        cached_(coordinator_, workplace.cache, inputs_, job_, lease.fence()) {
    at_.cache.spare_snapshots(project(), any_snapshot_.emplace(at_.cache));
    fs::create_directories(at_.cache.log_folder(job_.id()));
    finish_.set_job_id(job_.id());
    *finish_.mutable_fence() = lease.fence();
  }

  // What is to be told to the server; no outcome: nothing.
  v1::FinishAttemptRequest run() {
    try {
      const auto start = fetch_inputs();
      const auto outcome = run_engine(engine_run(start), *this, stop_);
      if (outcome.error)
        fail(*outcome.error);
      else if (outcome.result)
        succeed(*outcome.result);
    } catch (...) {
      if (!stop_) fail(to_detail(current_error()));
    }
    if (stop_ && !(stop_.reason() == Stop::kDrain && !finish_.outcome().empty())) stopped();
    for (const auto& [index, stage] : stages_) *finish_.add_stages() = stage;
    share_finished();
    return finish_;
  }

 private:
  // The start message's members for the inputs, all of them in the cache.
  Json fetch_inputs() {
    const Stopwatch watch;
    Json start{{"model", inputs_.fetch_artifact(job_.spec().model(), "model")}, {"data", Json::object()}};
    for (const auto& [name, digest] : job_.spec().data())
      start["data"][name] = inputs_.fetch_artifact(digest, "data." + name);
    say(fmt::format("inputs at hand after {:.2f} s", watch.seconds()));
    return start;
  }

  EngineRun engine_run(Json start) {
    const auto& resources = job_.spec().resources();
    EngineRun run;
    run.program = fs::absolute(at_.options.engine);
    run.folder = work();
    run.sandbox = at_.sandbox;
    run.own = {{scratch_.path(), snapshots()}, {kept_stages()}, {at_.cache.blobs()}};
    run.log = at_.cache.log_folder(job_.id()) / "engine.log";
    run.memory_bytes = smaller_limit(resources.memory_bytes(), at_.options.memory_bytes);
    run.limit_is_jobs = resources.memory_bytes() > 0 && run.memory_bytes == resources.memory_bytes();
    run.seconds = job_.spec().max_runtime_seconds();
    run.began = began_;
    fs::create_directories(work());
    fs::create_directories(snapshots());
    fs::create_directories(kept_stages());
    start["type"] = "start";
    start["v"] = 1;
    start["recipe"] = parse_json(lease_.normal_form_json(), "the recipe's normal form");
    start["seed"] = job_.spec().seed();
    const auto processes = std::max(1u, resources.processes());
    start["processes"] = processes;
    start["threads"] = resources.threads() > 0 ? resources.threads() : threads_of_each(processes);
    start["device"] = device_.kind() == "cuda" ? "cuda:" + std::to_string(device_.index()) : "cpu";
    start["out"] = out().string();
    start["work"] = work().string();
    start["snapshots"] = snapshots().string();
    start["memory_bytes"] = run.memory_bytes;
    start["plan_only"] = job_.spec().plan_only();
    run.start = std::move(start);
    return run;
  }

  // Of the worker's threads; 0: of all there are.
  std::uint32_t threads_of_each(std::uint32_t processes) const {
    const auto threads = at_.options.threads;
    return threads == 0 ? 0 : std::max(1u, threads / processes);
  }

  const std::string& project() const { return job_.spec().project(); }
  fs::path snapshots() const { return at_.cache.snapshots(project()); }
  fs::path kept_stages() const { return at_.cache.stages(project()); }
  fs::path work() const { return scratch_.path() / "work"; }
  fs::path out() const { return scratch_.path() / "out"; }

  void on_plan(const PlanLine& plan) override {
    for (std::uint32_t i = 0; i < plan.steps.size(); ++i) {
      auto& stage = stages_[i];
      stage.set_index(i);
      stage.set_name(plan.steps[i].name);
      if (plan.steps[i].kind == "stage") models_.insert(i);
      if (plan.steps[i].key) {
        stage.set_key(plan.steps[i].key->hex());
        at_.cache.hold_snapshot(project(), *plan.steps[i].key, inputs_.hold());
      }
      const auto& forecast = plan.steps[i].forecast;
      stage.set_forecast_seconds(forecast.seconds);
      stage.set_forecast_peak_bytes(forecast.peak_bytes);
      stage.set_forecast_bytes_before(forecast.bytes_before);
      stage.set_forecast_bytes_after(forecast.bytes_after);
      stage.set_state("pending");
      at_.keeper.report(stage);
      if (job_.spec().plan_only() && plan.steps[i].at_hand) stage.set_state("cached");
    }
    any_snapshot_.reset();
  }

  std::optional<Json> on_lookup(const LookupLine& lookup) override { return cached_.find(lookup.key); }

  void on_started(const StartedLine& started) override {
    if (job_.spec().plan_only())
      throw Error(ErrorCode::kInternal, "ENGINE_PROTOCOL", "the engine runs what it was only to plan", "",
                  "Install worker and engine of one release.");
    share_finished();
    auto& stage = stages_[started.index];
    stage.set_index(started.index);
    stage.set_name(started.name);
    stage.set_state("running");
    at_.keeper.report(stage);
  }

  void on_progress(const ProgressLine& line) override {
    *stages_[line.progress.stage()].mutable_progress() = line.progress;
    at_.keeper.progress(line.progress);
  }

  void on_done(const DoneLine& done) override {
    auto& stage = stages_[done.stage.index()];
    const auto planned = stage;
    stage = done.stage;
    stage.set_forecast_seconds(planned.forecast_seconds());
    stage.set_forecast_peak_bytes(planned.forecast_peak_bytes());
    stage.set_forecast_bytes_before(planned.forecast_bytes_before());
    stage.set_forecast_bytes_after(planned.forecast_bytes_after());
    if (planned.progress().total() > 0) *stage.mutable_progress() = planned.progress();
    cached_.describe(stage);
    at_.metrics.step_ended(stage);
    if (done.key && stage.state() == "done") stage.set_unshared(done.path.empty() || !keep(done));
    at_.keeper.report(stage, std::move(new_rows_));
    new_rows_.clear();
  }

  void on_log(const std::string& line) override { at_.keeper.log(line); }
  void on_memory(std::uint64_t bytes) override { at_.metrics.engine_memory(bytes); }

  // Only what the engine made in its own scratch folder is taken from it.
  void check_inside(const fs::path& path) const {
    const auto inside = path.lexically_normal().lexically_relative(work());
    if (!is_safe_relative_path(inside.string()) || !fs::is_directory(path))
      throw Error(ErrorCode::kInternal, "ENGINE_PROTOCOL",
                  "the engine hands over " + path.string() + ", which is not in its scratch folder");
  }

  // Whether the project's other workers will have it, too.
  bool keep(const DoneLine& done) {
    check_inside(done.path);
    const auto bytes = at_.cache.keep_stage(project(), *done.key, done.path, inputs_.hold());
    if (!bytes || !at_.sharer.is_worth_it(done.stage.seconds(), *bytes)) return false;
    const char* kind = models_.contains(done.stage.index()) ? "model" : "report";
    finished_ = {job_.id(), project(), lease_.fence(), *done.key, kind, done.stage.seconds()};
    return true;
  }

  // Once the next step runs, or nothing more does: the last stage's chunks are mostly those of the result,
  // which goes first.
  void share_finished() {
    if (finished_) at_.sharer.share(*std::exchange(finished_, std::nullopt));
  }

  void on_rows(const RowsLine& line) override {
    for (auto row : line.rows) {
      row.set_job_id(job_.id());
      if (row.artifact().empty() && row.when() == "before") row.set_artifact(job_.spec().model());
      new_rows_.push_back(row);
      *finish_.add_evaluations() = std::move(row);
    }
  }

  void succeed(const ResultLine& result) {
    const StageSharer::Pause pause(at_.sharer);
    for (const auto& exported : result.exports) {
      check_inside(exported.path);
      finish_.add_exports(hand_in(exported));
    }
    if (!result.made.path.empty()) {
      if (result.made.path != out())
        throw Error(ErrorCode::kInternal, "ENGINE_PROTOCOL",
                    "the engine's result is not where it was asked for");
      finish_.set_result(hand_in(result.made));
    }
    for (auto& row : *finish_.mutable_evaluations())
      if (row.artifact().empty() && row.when() == "after")
        row.set_artifact(finish_.result().empty() ? job_.spec().model() : finish_.result());
    remove_snapshots();
    at_.keeper.flush();
    finish_.set_outcome("succeeded");
  }

  // Here and in the job's log.
  void say(const std::string& line) {
    spdlog::info("job {}: {}", job_.id(), line);
    at_.keeper.log("worker: " + line);
  }

  // Uploads what the store lacks of a folder, the manifest last. Returns its digest.
  std::string hand_in(const MadeArtifact& made) {
    const Stopwatch watch;
    const auto manifest = build_manifest(made.path, made.kind, made.metadata);
    const auto digest = manifest.digest().hex();
    if (digest != made.digest)
      throw Error(ErrorCode::kDataLoss, "RESULT_MISMATCH",
                  "the engine's result is " + digest + ", not " + made.digest + " as it said");
    v1::CommitArtifactRequest request;
    request.set_manifest_json(manifest.canonical());
    request.set_name(job_.spec().name());
    request.set_project(job_.spec().project());
    v1::Artifact committed;
    const auto commit = [&] {
      committed =
          until_answered(stop_, "CommitArtifact", [&] { return coordinator_.commit_artifact(request); });
    };
    const auto sent = upload_tree(coordinator_, made.path, manifest, commit, patient(stop_));
    if (committed.digest() != digest)
      throw Error(ErrorCode::kDataLoss, "RESULT_MISMATCH",
                  "the server calls the result " + committed.digest() + ", not " + digest);
    say(fmt::format("{} handed in, {} of {} sent in {:.2f} s", digest.substr(0, 12), human_bytes(sent),
                    human_bytes(manifest.total_bytes()), watch.seconds()));
    return digest;
  }

  void fail(const v1::ErrorDetail& error) {
    spdlog::warn("job {} failed: {} ({})", job_.id(), error.message(), error.reason());
    at_.keeper.flush();
    finish_.set_outcome("failed");
    if (error.reason() == "DISK_FULL" || is_users_to_mend(error)) remove_snapshots();
    *finish_.mutable_error() = error;
  }

  void stopped() {
    finish_.clear_result();
    finish_.clear_exports();
    finish_.clear_error();
    finish_.clear_evaluations();
    switch (stop_.reason()) {
      case Stop::kCancel:
        finish_.set_outcome("cancelled");
        fs::remove_all(at_.cache.log_folder(job_.id()));
        remove_snapshots();
        break;
      case Stop::kDrain:
        finish_.set_outcome("released");
        break;
      default:
        finish_.clear_outcome();
    }
  }

  // Of a job that is over. One that was only planned has none, and its stages are also other jobs'.
  void remove_snapshots() const {
    if (job_.spec().plan_only()) return;
    for (const auto& [index, stage] : stages_)
      if (!stage.key().empty()) at_.cache.remove_snapshot(project(), Digest::parse(stage.key()));
  }

  const Stopwatch began_;
  const Workplace& at_;
  const v1::Job& job_;
  const v1::LeaseJobResponse& lease_;
  const v1::Device& device_;
  StopSignal& stop_;
  TempDir scratch_;
  Coordinator coordinator_;  // sees what the job's project has
  Inputs inputs_;
  StageCache cached_;
  std::optional<Cache::Hold> any_snapshot_;  // of the project, until the plan says which are this job's
  std::set<std::uint32_t> models_;           // steps that make one
  std::optional<StageSharer::Output> finished_;
  std::map<std::uint32_t, v1::StageStatus> stages_;
  std::vector<v1::Evaluation> new_rows_;  // since the last report
  v1::FinishAttemptRequest finish_;
};

// Tells the server, for as long as it takes.
void finish(const Workplace& at, const v1::FinishAttemptRequest& request, const StopSignal& leave) {
  try {
    until_answered(leave, "FinishAttempt", [&] { at.coordinator.finish_attempt(request); });
    spdlog::info("job {} {}", request.job_id(), request.outcome());
  } catch (const Error& error) {
    spdlog::warn("job {}: the server does not take '{}': {}", request.job_id(), request.outcome(),
                 error.what());
    if (request.outcome() != "succeeded" || error.reason() == "STALE_LEASE" || error.reason() == "STOPPED")
      return;
    auto failed = request;
    failed.set_outcome("failed");
    failed.clear_result();
    failed.clear_exports();
    failed.clear_evaluations();
    *failed.mutable_error() = to_detail(error);
    failed.mutable_error()->set_message("the server does not take the result: " + error.message());
    finish(at, failed, leave);
  }
}

}  // namespace

bool run_attempt(const Workplace& workplace, const v1::LeaseJobResponse& lease, const v1::Device& device,
                 StopSignal& stop, const StopSignal& leave) {
  const LogScope job("job", lease.job().id());
  std::optional<LogScope> submit;
  if (!lease.request_id().empty()) submit.emplace("request", lease.request_id());
  workplace.metrics.attempt_began();
  spdlog::info("job {} ({}): attempt {}", lease.job().id(), lease.job().spec().name(), lease.job().attempt());
  workplace.keeper.begin(lease.job().id(), lease.fence(), stop);
  v1::FinishAttemptRequest request;
  try {
    request = Attempt(workplace, lease, device, stop).run();
  } catch (...) {  // not even a scratch folder could be made
    request.set_job_id(lease.job().id());
    *request.mutable_fence() = lease.fence();
    request.set_outcome("failed");
    *request.mutable_error() = to_detail(current_error());
  }
  if (request.outcome().empty())
    spdlog::warn("job {}: the lease is lost; the attempt is dropped", request.job_id());
  else
    finish(workplace, request, leave);
  workplace.keeper.end();
  workplace.metrics.attempt_ended(request.outcome());
  workplace.cache.trim();
  return request.error().reason() != "DISK_FULL";
}

}  // namespace wring
