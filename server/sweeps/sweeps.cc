// Sweeps as the API sees them.
#include "server/sweeps/sweeps.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <shared_mutex>
#include <utility>

#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/text.h"
#include "recipe/sweep_paths.h"
#include "server/api/artifact_catalogue.h"
#include "server/api/messages.h"
#include "server/api/page_tokens.h"
#include "server/store/artifact_rows.h"
#include "server/store/audit_rows.h"
#include "server/sweeps/bounds.h"
#include "server/sweeps/outcome.h"

namespace wring {
namespace {

constexpr std::size_t kMaxText = 1u << 20, kMaxName = 180;

void refuse(const char* reason, const std::string& message, const char* field, const char* hint = "") {
  throw Error(ErrorCode::kInvalidArgument, reason, message, field, hint);
}

void check_request(const v1::SubmitSweepRequest& request) {
  const v1::SweepSpec& spec = request.spec();
  check_request_id(request.request_id());
  if (spec.name().size() > kMaxName) refuse("NAME_TOO_LONG", "a name of more than 180 bytes", "spec.name");
  if (spec.sweep().size() > kMaxText || spec.recipe().size() > kMaxText)
    refuse("SWEEP_TOO_LARGE", "a sweep or recipe of more than 1 MiB", "spec.sweep");
  if (!spec.project().empty()) check_project(spec.project(), "spec.project");
  check_retention(spec.retention(), "spec.retention");
}

v1::Objective to_message(const Objective& objective) {
  v1::Objective message;
  message.set_metric(objective.metric.name);
  message.set_suite(objective.metric.suite);
  message.set_maximise(objective.maximise);
  return message;
}

v1::Constraint to_message(const Constraint& constraint) {
  v1::Constraint message;
  message.set_metric(constraint.metric.name);
  message.set_suite(constraint.metric.suite);
  if (constraint.minimum) message.set_minimum(*constraint.minimum);
  if (constraint.maximum) message.set_maximum(*constraint.maximum);
  message.set_of_input(constraint.of_input);
  return message;
}

v1::TrialMetric to_metric(const Json& json) {
  v1::TrialMetric metric;
  metric.set_suite(json_at<std::string>(json, "suite", "metric"));
  metric.set_metric(json_at<std::string>(json, "metric", "metric"));
  metric.set_value(json.at("value").is_number() ? json.at("value").get<double>()
                                                : std::numeric_limits<double>::quiet_NaN());
  metric.set_unit(json_or<std::string>(json, "unit", ""));
  if (json.contains("baseline") && json.at("baseline").is_number())
    metric.set_baseline_value(json.at("baseline").get<double>());
  if (json.contains("stderr") && json.at("stderr").is_number())
    metric.set_stderr(json.at("stderr").get<double>());
  return metric;
}

// A goal's first trial, which measures what was handed in.
bool is_of_input(const TrialRow& row, const Sweep& sweep) {
  return sweep.has_goal() && row.number == 0;
}

v1::Trial to_message(const TrialRow& row, const Sweep& sweep) {
  v1::Trial trial;
  trial.set_number(row.number);
  trial.set_job_id(row.job);
  trial.set_state(row.phase == 0 ? v1::JOB_STATE_UNSPECIFIED : static_cast<v1::JobState>(row.phase));
  for (const auto& value : row.point.at("values")) trial.add_values_json(value.dump());
  trial.set_rung(json_or<std::uint32_t>(row.point, "rung", 0));
  trial.set_parent(json_or<std::int64_t>(row.point, "parent", -1));
  if (row.point.contains("fidelity")) trial.set_fidelity_json(row.point.at("fidelity").dump());
  if (row.outcome.contains("metrics"))
    for (const auto& metric : row.outcome.at("metrics")) *trial.add_metrics() = to_metric(metric);
  const auto violation = violation_of(row.outcome, sweep.constraints);
  trial.set_feasible(row.phase == static_cast<int>(JobPhase::kSucceeded) && violation && *violation == 0 &&
                     !is_of_input(row, sweep));
  trial.set_result(json_or<std::string>(row.outcome, "result", ""));
  trial.set_bytes(json_or<std::uint64_t>(row.outcome, "bytes", 0));
  trial.set_seconds(json_or<double>(row.outcome, "seconds", 0));
  if (row.outcome.contains("error")) *trial.mutable_error() = to_error_detail(row.outcome.at("error"));
  return trial;
}

// The first trial's, where all trials have the same methods: others may be what the first one cannot be.
std::optional<Recipe> first_recipe(const Sweep& sweep, const std::vector<std::uint64_t>& extents) try {
  for (const auto& dimension : sweep.space.dimensions)
    if (resolve_path(dimension.path, sweep.recipe, "space", Source()).structural) return std::nullopt;
  return parse_recipe(inputs_of(sweep, make_strategy(sweep, extents)->next({}).proposal).recipe);
} catch (const Error&) {
  return std::nullopt;
}

std::vector<TrialRow> all_trials(JobStore& store, const std::string& id) {
  std::vector<TrialRow> trials;
  constexpr int kPage = 1000;
  for (bool more = true; more;) {
    auto page = store.read([&](Connection& db) { return list_trials(db, id, trials.size(), kPage); });
    more = page.size() == kPage;
    std::move(page.begin(), page.end(), std::back_inserter(trials));
  }
  return trials;
}

// nullopt where another release took what this one does not: its row is shown without what the text says.
std::optional<Sweep> sweep_if_read(const StoredSweep& stored) try {
  return read_sweep(stored.spec.sweep(), stored.spec.recipe());
} catch (const Error& error) {
  spdlog::debug("sweep {} cannot be read: {}", stored.record.id, error.what());
  return std::nullopt;
}

void describe(const Sweep& sweep, const SweepRecord& record, v1::Sweep& message) {
  if (message.spec().name().empty()) message.mutable_spec()->set_name(sweep.name);
  message.set_strategy(sweep.strategy.name);
  for (const auto& d : sweep.space.dimensions) message.add_dimensions(d.path);
  if (sweep.has_goal()) message.add_dimensions("plan");
  for (const auto& objective : sweep.objectives) *message.add_objectives() = to_message(objective);
  for (const auto& constraint : sweep.constraints) *message.add_constraints() = to_message(constraint);
  message.set_parallel(sweep.parallel);
  message.set_expected_trials(expected_trials(sweep, record.extents));
  for (const auto& text : sweep.models()) message.add_models(text);
  for (const auto& text : sweep.datasets()) message.add_datasets(text);
}

void check_etag(const SweepRecord& record, const std::string& etag) {
  if (!etag.empty() && etag != std::to_string(record.version))
    throw Error(ErrorCode::kAborted, "ETAG_MISMATCH", "sweep " + record.id + " has changed since", "etag",
                "Get it again and decide anew.");
}

[[noreturn]] void throw_ended(const SweepRecord& record) {
  throw Error(ErrorCode::kFailedPrecondition, "SWEEP_ENDED",
              "sweep " + record.id + " has ended, or was asked to", "id",
              "wring sweep extend goes on with one that reached its bounds or was stopped.");
}

}  // namespace

std::set<std::string> Sweeps::check_inputs(const Within& project, const v1::SweepSpec& spec,
                                           const Sweep& sweep) {
  auto texts = sweep.models();
  const auto datasets = sweep.datasets();
  texts.insert(texts.end(), datasets.begin(), datasets.end());
  for (const auto& [text, digest] : spec.inputs())
    if (std::find(texts.begin(), texts.end(), text) == texts.end())
      refuse("UNKNOWN_INPUT", "the sweep names no model or data '" + text.substr(0, 80) + "'", "spec.inputs",
             "Give digests of what it names, and of nothing else.");
  std::set<std::string> digests;
  for (const auto& text : texts) {
    const std::string digest = digest_of(text, spec);
    if (!store_.has_artifact(digest, project))
      throw Error(ErrorCode::kNotFound, "ARTIFACT_NOT_FOUND",
                  "there is no artifact '" + digest.substr(0, 64) + "' in the store", "spec.inputs",
                  "Upload it first (wring put), and give its digest as inputs[" + text.substr(0, 80) + "].");
    digests.insert(digest);
  }
  return digests;
}

void Sweeps::check_class(const v1::SweepSpec& spec, const Sweep& sweep) {
  const auto& asked = spec.resources().worker_class();
  if (!asked.empty() && !sweep.worker_class.empty() && asked != sweep.worker_class)
    refuse("CONTRADICTORY_GOAL", "the goal is measured on workers of class " + sweep.worker_class,
           "spec.resources.worker_class", "Leave it out: the goal's class runs all of its trials.");
  const bool of_goal = !sweep.worker_class.empty();
  const std::string name = of_goal ? sweep.worker_class : asked;
  if (name.empty()) return;
  const auto known = coordinator_.worker_classes();
  if (known.contains(name)) return;
  const std::vector<std::string> names(known.begin(), known.end());
  const auto nearest = nearest_name(name, names);
  throw Error(ErrorCode::kInvalidArgument, "UNKNOWN_CLASS",
              "no worker is of class '" + name.substr(0, 80) + "'",
              of_goal ? "goal" : "spec.resources.worker_class",
              (nearest.empty() ? "" : "Did you mean '" + nearest + "'? ") +
                  (names.empty() ? "No worker has a class" : "Known: " + join(names, ", ")) +
                  ". wring-worker --class " + name.substr(0, 80) +
                  " starts one; wring up and wring sweep run have the option, too.");
}

v1::Sweep Sweeps::submit(const Within& project, const v1::SubmitSweepRequest& request) {
  if (request.validate_only()) AuditNote::nothing();
  check_request(request);
  const v1::SweepSpec& spec = request.spec();
  if (!spec.project().empty()) check_within(project, spec.project(), "spec.project");
  const Sweep sweep = parse_sweep(spec.sweep(), spec.recipe());
  check_class(spec, sweep);
  StoredSweep stored{{}, spec};
  SweepRecord& record = stored.record;
  record.project = spec.project().empty() ? (project.empty() ? kDefaultProject : project) : spec.project();
  record.create_time = clock_.now_ms();
  record.trials = sweep.bounds.trials;
  record.seconds = sweep.bounds.seconds;
  record.bytes = sweep.bounds.bytes;
  if (record.trials > 0) record.extents = {record.trials};
  check_job_settings(trial_settings(spec, sweep));
  const auto first = first_recipe(sweep, record.extents);
  if (first) check_reads_no_file(*first);
  if (request.validate_only()) return message(stored, true);
  const auto request_id = request_key(project, request.request_id()), digest = request_digest(spec);
  {
    const std::lock_guard rows(runner_.rows());
    const auto known = store_.read([&](Connection& db) { return find_sweep_request(db, request_id); });
    if (const auto before = submitted_before(known, digest)) {
      AuditNote::about(*before);
      return get({}, *before);
    }
    store_.check_space();
    const std::shared_lock inputs(store_.inputs());  // they stay until the sweep is stored
    const auto artifacts = check_inputs(project, spec, sweep);
    if (const auto models = sweep.models(); first && models.size() == 1)
      coordinator_.check_model(project, digest_of(models[0], spec), *first);
    record.id = random_id();
    AuditNote::about(record.id);
    store_.change([&](Connection& db) {
      record.sequence = highest_sweep_sequence(db) + 1;
      put_sweep(db, stored, request_id, digest);
      for (const auto& artifact : artifacts) share_artifact(db, artifact, record.project);
    });
  }
  runner_.wake();
  return get({}, record.id);
}

StoredSweep Sweeps::find(const Within& project, const std::string& id) {
  return store_.read([&](Connection& db) {
    auto stored = find_sweep(db, resolve_sweep(db, id, project));
    if (!stored)
      throw Error(ErrorCode::kNotFound, "SWEEP_NOT_FOUND", "there is no sweep " + id.substr(0, 80), "id");
    return *std::move(stored);
  });
}

v1::Sweep Sweeps::message(const StoredSweep& stored, bool whole) {
  const SweepRecord& r = stored.record;
  v1::Sweep message;
  message.set_id(r.id);
  *message.mutable_spec() = stored.spec;
  message.mutable_spec()->set_project(r.project);
  if (const auto sweep = sweep_if_read(stored)) describe(*sweep, r, message);
  if (!whole) {
    message.mutable_spec()->clear_sweep();
    message.mutable_spec()->clear_recipe();
  }
  message.set_state(static_cast<v1::SweepState>(r.phase));
  message.set_etag(std::to_string(r.version));
  *message.mutable_create_time() = to_timestamp(r.create_time);
  if (r.end_time > 0) *message.mutable_end_time() = to_timestamp(r.end_time);
  message.mutable_bounds()->set_trials(r.trials);
  message.mutable_bounds()->set_seconds(r.seconds);
  message.mutable_bounds()->set_bytes(r.bytes);
  const auto counts = store_.read([&](Connection& db) { return count_trials(db, r.id); });
  message.set_trials(counts.made);
  message.set_queued(counts.queued);
  message.set_running(counts.running);
  message.set_succeeded(counts.succeeded);
  message.set_failed(counts.failed);
  message.set_cancelled(counts.cancelled);
  message.set_bytes(counts.bytes);
  message.set_strategy_state(runner_.strategy_state(r.id));
  message.set_waiting_reason(runner_.waiting_reason(r.id));
  message.set_exhausted(r.exhausted);
  message.set_end_reason(r.end_reason);
  return message;
}

v1::Sweep Sweeps::get(const Within& project, const std::string& id) {
  return message(find(project, id), true);
}

v1::ListSweepsResponse Sweeps::list(const Within& project, const v1::ListSweepsRequest& request) {
  const int limit = page_size(request.page_size(), 50, 1000);
  const PageTokens tokens(request, project, store_.page_key());
  const auto before = tokens.position();
  if (!request.project().empty()) check_project(request.project(), "project");
  const Within within = request.project().empty() ? project : request.project();
  if (!project.empty() && within != project) return {};
  v1::ListSweepsResponse response;
  const auto sweeps = store_.read([&](Connection& db) { return list_sweeps(db, within, before, limit); });
  for (const auto& stored : sweeps) *response.add_sweeps() = message(stored, false);
  if (response.sweeps_size() == limit && sweeps.back().record.sequence > 1)
    response.set_next_page_token(tokens.token(sweeps.back().record.sequence));
  return response;
}

v1::ListTrialsResponse Sweeps::trials(const Within& project, const v1::ListTrialsRequest& request) {
  const int limit = page_size(request.page_size(), 100, 1000);
  const PageTokens tokens(request, project, store_.page_key());
  const auto from = tokens.position();
  const auto stored = find(project, request.id());
  const Sweep sweep = read_sweep(stored.spec.sweep(), stored.spec.recipe());
  v1::ListTrialsResponse response;
  const auto rows =
      store_.read([&](Connection& db) { return list_trials(db, stored.record.id, from, limit); });
  for (const auto& row : rows) *response.add_trials() = to_message(row, sweep);
  if (response.trials_size() == limit) response.set_next_page_token(tokens.token(rows.back().number + 1));
  return response;
}

v1::QueryFrontResponse Sweeps::front(const Within& project, const v1::QueryFrontRequest& request) {
  const auto stored = find(project, request.id());
  Sweep sweep = read_sweep(stored.spec.sweep(), stored.spec.recipe());
  std::vector<Objective> objectives = sweep.objectives;
  if (request.objectives_size() > 0) objectives.clear();
  for (const auto& o : request.objectives())
    objectives.push_back({find_metric(sweep.recipe, o.metric(), o.suite(), "objectives"), o.maximise()});
  if (objectives.empty())
    refuse("MISSING_PARAMETER", "the sweep has no objectives", "objectives",
           "Name metrics: --metric kl_mean:min.");
  std::vector<Constraint> asked;
  for (const auto& c : request.constraints())
    asked.push_back({find_metric(sweep.recipe, c.metric(), c.suite(), "constraints"),
                     c.has_minimum() ? std::optional(c.minimum()) : std::nullopt,
                     c.has_maximum() ? std::optional(c.maximum()) : std::nullopt, c.of_input()});
  check_asked(sweep, asked);
  sweep.constraints.insert(sweep.constraints.end(), asked.begin(), asked.end());
  std::vector<TrialRow> rows;
  std::uint32_t top = 0;
  for (auto& row : all_trials(store_, stored.record.id)) {
    if (row.phase != static_cast<int>(JobPhase::kSucceeded) || is_of_input(row, sweep)) continue;
    top = std::max(top, json_or<std::uint32_t>(row.point, "rung", 0));
    rows.push_back(std::move(row));
  }
  std::erase_if(rows, [&](const auto& row) { return json_or<std::uint32_t>(row.point, "rung", 0) < top; });
  std::vector<Measured> measured;
  for (const auto& row : rows) measured.push_back(measured_of(row.outcome, objectives, sweep.constraints));
  auto front = pareto_front(measured);
  std::stable_sort(front.begin(), front.end(),
                   [&](auto a, auto b) { return measured[a].losses < measured[b].losses; });
  v1::QueryFrontResponse response;
  for (const auto& objective : objectives) *response.add_objectives() = to_message(objective);
  for (const auto i : front) *response.add_trials() = to_message(rows[i], sweep);
  response.set_any_feasible(!front.empty());
  if (front.empty() && !rows.empty())
    if (const auto nearest = ranked(measured).front(); !measured[nearest].losses.empty())
      *response.mutable_nearest() = to_message(rows[nearest], sweep);
  return response;
}

v1::QuerySavingsResponse Sweeps::savings(const Within& project, const std::string& id) {
  const auto sweep = find(project, id).record.id;
  const auto saved = store_.read([&](Connection& db) { return sum_savings(db, sweep); });
  v1::QuerySavingsResponse response;
  response.set_stages(saved.stages);
  response.set_cached(saved.cached);
  response.set_bytes(saved.bytes);
  response.set_seconds(saved.seconds);
  return response;
}

v1::Sweep Sweeps::change(const Within& project, const std::string& id, const std::string& etag,
                         const std::function<bool(SweepRecord&)>& change) {
  std::string found;
  {
    const std::lock_guard rows(runner_.rows());
    SweepRecord record = find(project, id).record;
    found = record.id;
    AuditNote::about(found);
    check_etag(record, etag);
    if (change(record)) {
      ++record.version;
      store_.change([&](Connection& db) { update_sweep(db, record); });
    }
  }
  runner_.wake();
  return get({}, found);
}

v1::Sweep Sweeps::pause(const Within& project, const std::string& id, const std::string& etag, bool paused) {
  return change(project, id, etag, [&](SweepRecord& record) {
    const auto phase = paused ? SweepPhase::kPaused : SweepPhase::kRunning;
    if (record.phase == phase) return false;
    if (record.phase != SweepPhase::kRunning && record.phase != SweepPhase::kPaused) throw_ended(record);
    record.phase = phase;
    return true;
  });
}

v1::Sweep Sweeps::stop(const Within& project, const std::string& id, const std::string& etag) {
  return change(project, id, etag, [](SweepRecord& record) {
    if (record.phase == SweepPhase::kStopping || record.phase == SweepPhase::kStopped) return false;
    if (record.phase != SweepPhase::kRunning && record.phase != SweepPhase::kPaused) throw_ended(record);
    record.phase = SweepPhase::kStopping;
    return true;
  });
}

v1::Sweep Sweeps::cancel(const Within& project, const std::string& id, const std::string& etag) {
  return change(project, id, etag, [](SweepRecord& record) {
    if (record.phase == SweepPhase::kCancelling || record.phase == SweepPhase::kCancelled) return false;
    if (has_ended(record.phase)) throw_ended(record);
    record.phase = SweepPhase::kCancelling;
    return true;
  });
}

v1::Sweep Sweeps::extend(const Within& project, const v1::ExtendSweepRequest& request) {
  const auto& more = request.more();
  return change(project, request.id(), request.etag(), [&](SweepRecord& record) {
    if (record.phase == SweepPhase::kCancelling || record.phase == SweepPhase::kCancelled)
      throw_ended(record);
    if (record.exhausted)
      throw Error(ErrorCode::kFailedPrecondition, "SPACE_EXHAUSTED",
                  "sweep " + record.id + " has tried all that its strategy would", "id",
                  "Submit another sweep with a larger space.");
    extend_bounds(record, more, clock_.now_ms());
    check_goes_on(record);
    if (record.phase != SweepPhase::kPaused) record.phase = SweepPhase::kRunning;
    record.end_time = 0;
    record.end_reason.clear();
    return true;
  });
}

// Who extends a sweep is told what would end it at once all the same.
void Sweeps::check_goes_on(const SweepRecord& record) {
  const auto counts = store_.read([&](Connection& db) { return count_trials(db, record.id); });
  const v1::SweepSpec spec = find({}, record.id).spec;
  auto reached = bound_reached(record, counts.made, counts.bytes, clock_.now_ms());
  if (reached.empty() && counts.queued + counts.running == 0)
    reached = failures_reached(read_sweep(spec.sweep(), spec.recipe()).bounds.failures, counts.succeeded,
                               counts.failed + counts.cancelled);
  if (!reached.empty())
    throw Error(
        ErrorCode::kFailedPrecondition, "BOUND_REACHED",
        "sweep " + record.id + " would end at once: " + reached, "more",
        "Raise that bound, too; failures are no bound that can be raised: retry one of its jobs once the "
        "cause is mended, or submit another sweep.");
}

void Sweeps::remove(const Within& project, const std::string& id, const std::string& etag) {
  const std::lock_guard rows(runner_.rows());
  const SweepRecord record = find(project, id).record;
  AuditNote::about(record.id);
  check_etag(record, etag);
  if (!has_ended(record.phase))
    throw Error(ErrorCode::kFailedPrecondition, "SWEEP_NOT_ENDED", "sweep " + record.id + " has not ended",
                "id", "Cancel it first.");
  store_.change([&](Connection& db) { remove_sweep(db, record.id); });
}

}  // namespace wring
