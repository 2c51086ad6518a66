// The API's messages as JSON.
#include "client/messages.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <cctype>

namespace wring {
namespace {

constexpr std::string_view kStatePrefix = "JOB_STATE_", kSweepPrefix = "SWEEP_STATE_";

Json time_json(bool present, const google::protobuf::Timestamp& time) {
  return present ? Json(google::protobuf::util::TimeUtil::ToString(time)) : Json();
}

// A member that holds JSON as text; null where it is empty, the text itself where it is malformed.
Json embedded(const std::string& text) {
  if (text.empty()) return nullptr;
  auto json = Json::parse(text, nullptr, false);
  return json.is_discarded() ? Json(text) : json;
}

Json stage_json(const v1::StageStatus& stage) {
  return {{"index", stage.index()},
          {"name", stage.name()},
          {"state", stage.state()},
          {"seconds", stage.seconds()},
          {"peak_bytes", stage.peak_bytes()},
          {"forecast_seconds", stage.forecast_seconds()},
          {"forecast_peak_bytes", stage.forecast_peak_bytes()},
          {"forecast_bytes_before", stage.forecast_bytes_before()},
          {"forecast_bytes_after", stage.forecast_bytes_after()},
          {"key", stage.key()},
          {"cached_in", stage.cached_in()},
          {"cached_bytes", stage.cached_bytes()},
          {"saved_seconds", stage.saved_seconds()},
          {"report", embedded(stage.report_json())}};
}

Json error_json(const v1::ErrorDetail& error) {
  return {{"code", error.code()},     {"reason", error.reason()},    {"message", error.message()},
          {"field", error.field()},   {"hint", error.hint()},        {"stage", error.stage()},
          {"signal", error.signal()}, {"last_log", error.last_log()}};
}

}  // namespace

namespace {

// The engine's last lines without what it said there of the error itself.
std::string log_beside(const v1::ErrorDetail& e) {
  const auto said =
      describe(Error(error_code_from_string(e.code()), e.reason(), e.message(), e.field(), e.hint()));
  std::string log = e.last_log();
  if (const auto at = log.rfind(said); at != std::string::npos) log.erase(at, said.size());
  return log;
}

}  // namespace

std::string state_name(v1::JobState state) {
  const auto name = v1::JobState_Name(state);
  return name.starts_with(kStatePrefix) ? name.substr(kStatePrefix.size()) : name;
}

v1::JobState state_from_name(std::string_view name) {
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
  v1::JobState state;
  if (upper != "UNSPECIFIED" && v1::JobState_Parse(std::string(kStatePrefix) + upper, &state)) return state;
  throw Error(ErrorCode::kInvalidArgument, "UNKNOWN_STATE",
              "'" + std::string(name) + "' is no state of a job", "--state",
              "One of queued, running, cancelling, succeeded, failed, cancelled.");
}

bool is_terminal(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED ||
         state == v1::JOB_STATE_CANCELLED;
}

Json to_json(const v1::Evaluation& row) {
  return {{"suite", row.suite()},
          {"metric", row.metric()},
          {"value", row.value()},
          {"unit", row.unit()},
          {"n", row.n()},
          {"stderr", row.has_stderr() ? Json(row.stderr()) : Json()},
          {"baseline_value", row.has_baseline_value() ? Json(row.baseline_value()) : Json()},
          {"change_stderr", row.has_change_stderr() ? Json(row.change_stderr()) : Json()},
          {"seed", row.seed()},
          {"hardware", row.hardware()},
          {"when", row.when()},
          {"text", row.text()},
          {"details", embedded(row.details_json())},
          {"artifact", row.artifact()},
          {"job", row.job_id()}};
}

Json to_json(const v1::Job& job) {
  Json json{{"id", job.id()},
            {"name", job.spec().name()},
            {"project", job.spec().project()},
            {"state", state_name(job.state())},
            {"paused", job.paused()},
            {"artifact_digest", job.result()},
            {"recipe_digest", job.recipe_digest()},
            {"model", job.spec().model()},
            {"data", Json::object()},
            {"seed", job.spec().seed()},
            {"plan_only", job.spec().plan_only()},
            {"retention",
             {{"pinned", job.spec().retention().pinned()},
              {"expire_after_seconds", job.spec().retention().expire_after_seconds()}}},
            {"attempt", job.attempt()},
            {"worker", job.worker()},
            {"waiting_reason", job.waiting_reason()},
            {"create_time", time_json(job.has_create_time(), job.create_time())},
            {"start_time", time_json(job.has_start_time(), job.start_time())},
            {"end_time", time_json(job.has_end_time(), job.end_time())},
            {"stages", Json::array()},
            {"evaluations", Json::array()}};
  for (const auto& [name, digest] : job.spec().data()) json["data"][name] = digest;
  for (const auto& stage : job.stages()) json["stages"].push_back(stage_json(stage));
  for (const auto& row : job.evaluations()) json["evaluations"].push_back(to_json(row));
  if (job.has_error()) json["error"] = error_json(job.error());
  return json;
}

Json to_json(const v1::Event& event) {
  Json json{{"number", event.number()},   {"time", time_json(event.has_time(), event.time())},
            {"type", event.type()},       {"state", state_name(event.state())},
            {"attempt", event.attempt()}, {"payload", embedded(event.payload_json())}};
  if (event.has_progress()) {
    const auto& p = event.progress();
    json["progress"] = {{"stage", p.stage()},
                        {"done", p.done()},
                        {"total", p.total()},
                        {"unit", p.unit()},
                        {"metric", p.metric()},
                        {"value", p.value()},
                        {"eta_seconds", p.eta_seconds()}};
  }
  return json;
}

Json to_json(const v1::Artifact& artifact) {
  Json json{{"digest", artifact.digest()},
            {"kind", artifact.kind()},
            {"format", artifact.format()},
            {"name", artifact.name()},
            {"total_bytes", artifact.total_bytes()},
            {"file_count", artifact.file_count()},
            {"create_time", time_json(artifact.has_create_time(), artifact.create_time())},
            {"created_by_job", artifact.created_by_job()},
            {"pinned", artifact.pinned()},
            {"expire_time", time_json(artifact.has_expire_time(), artifact.expire_time())}};
  if (!artifact.manifest_json().empty()) json["manifest"] = embedded(artifact.manifest_json());
  return json;
}

Json to_json(const v1::Worker& worker) {
  Json json{
      {"id", worker.id()},           {"name", worker.name()},
      {"version", worker.version()}, {"catalogue_digest", worker.catalogue_digest()},
      {"methods", Json::array()},    {"jobs", Json::array()},
      {"devices", Json::array()},    {"draining", worker.draining()},
      {"paused", worker.paused()},   {"last_seen", time_json(worker.has_last_seen(), worker.last_seen())},
      {"classes", Json::array()},    {"slurm_job", worker.slurm_job()}};
  for (const auto& name : worker.classes()) json["classes"].push_back(name);
  for (const auto& method : worker.methods()) json["methods"].push_back(method);
  for (const auto& job : worker.jobs()) json["jobs"].push_back(job);
  for (const auto& d : worker.devices())
    json["devices"].push_back({{"kind", d.kind()},
                               {"index", d.index()},
                               {"name", d.name()},
                               {"memory_bytes", d.memory_bytes()},
                               {"threads", d.threads()}});
  return json;
}

Json to_json(const v1::Project& project) {
  return {{"name", project.name()},
          {"paused", project.paused()},
          {"queued", project.queued()},
          {"running", project.running()},
          {"bytes", project.bytes()},
          {"quota",
           {{"queued", project.quota().queued()},
            {"running", project.quota().running()},
            {"bytes", project.quota().bytes()}}}};
}

Json to_json(const v1::Token& token) {
  return {{"id", token.id()},
          {"name", token.name()},
          {"scope", token.scope()},
          {"project", token.project()},
          {"create_time", time_json(token.has_create_time(), token.create_time())},
          {"expire_time", time_json(token.has_expire_time(), token.expire_time())},
          {"revoke_time", time_json(token.has_revoke_time(), token.revoke_time())}};
}

Error job_error(const v1::Job& job) {
  if (job.state() == v1::JOB_STATE_CANCELLED)
    return Error(ErrorCode::kCancelled, "JOB_CANCELLED", "job " + job.id() + " was cancelled", "",
                 "wring retry " + job.id() + " puts it back in the queue; finished stages are kept.");
  const auto& e = job.error();
  std::string message = "job " + job.id() + " failed";
  if (e.stage() >= 0 && e.stage() < job.stages_size())
    message += " in stage " + std::to_string(e.stage() + 1) + " (" + job.stages(e.stage()).name() + ")";
  if (e.signal() > 0) message += ", killed by signal " + std::to_string(e.signal());
  message += ": " + e.message();
  std::string hint = e.hint();
  const auto code = error_code_from_string(e.code());
  if (const auto log = log_beside(e); !log.empty())
    hint += (hint.empty() ? "" : "\n") + std::string("last lines of the engine:\n") + log;
  return Error(code, e.reason().empty() ? "JOB_FAILED" : e.reason(), message, e.field(), hint);
}

int job_exit_status(const Error& error) {
  if (error.code() == ErrorCode::kDeadlineExceeded) return exit_status(ErrorCode::kResourceExhausted);
  if (error.code() == ErrorCode::kUnavailable) return exit_status(ErrorCode::kInternal);
  return exit_status(error.code());
}

std::string state_name(v1::SweepState state) {
  const auto name = v1::SweepState_Name(state);
  return name.starts_with(kSweepPrefix) ? name.substr(kSweepPrefix.size()) : name;
}

bool is_terminal(v1::SweepState state) {
  return state >= v1::SWEEP_STATE_SUCCEEDED;
}

Json to_json(const v1::Sweep& sweep) {
  Json objectives = Json::array(), constraints = Json::array();
  for (const auto& o : sweep.objectives())
    objectives.push_back(
        {{"metric", o.metric()}, {"suite", o.suite()}, {"goal", o.maximise() ? "max" : "min"}});
  for (const auto& c : sweep.constraints())
    constraints.push_back({{"metric", c.metric()},
                           {"suite", c.suite()},
                           {"min", c.has_minimum() ? Json(c.minimum()) : Json()},
                           {"max", c.has_maximum() ? Json(c.maximum()) : Json()},
                           {"of_input", c.of_input()}});
  const auto& bounds = sweep.bounds();
  return {{"id", sweep.id()},
          {"name", sweep.spec().name()},
          {"project", sweep.spec().project()},
          {"state", state_name(sweep.state())},
          {"strategy", sweep.strategy()},
          {"strategy_state", sweep.strategy_state()},
          {"dimensions", std::vector<std::string>(sweep.dimensions().begin(), sweep.dimensions().end())},
          {"objectives", objectives},
          {"constraints", constraints},
          {"bounds", {{"trials", bounds.trials()}, {"seconds", bounds.seconds()}, {"bytes", bounds.bytes()}}},
          {"parallel", sweep.parallel()},
          {"expected_trials", sweep.expected_trials()},
          {"trials", sweep.trials()},
          {"queued", sweep.queued()},
          {"running", sweep.running()},
          {"succeeded", sweep.succeeded()},
          {"failed", sweep.failed()},
          {"cancelled", sweep.cancelled()},
          {"bytes", sweep.bytes()},
          {"waiting_reason", sweep.waiting_reason()},
          {"end_reason", sweep.end_reason()},
          {"create_time", time_json(sweep.has_create_time(), sweep.create_time())},
          {"end_time", time_json(sweep.has_end_time(), sweep.end_time())}};
}

Json to_json(const v1::Trial& trial, const v1::Sweep& sweep) {
  Json values = Json::object(), metrics = Json::array();
  for (int i = 0; i < trial.values_json_size() && i < sweep.dimensions_size(); ++i)
    values[sweep.dimensions(i)] = embedded(trial.values_json(i));
  for (const auto& m : trial.metrics())
    metrics.push_back({{"suite", m.suite()},
                       {"metric", m.metric()},
                       {"value", m.value()},
                       {"unit", m.unit()},
                       {"baseline_value", m.has_baseline_value() ? Json(m.baseline_value()) : Json()},
                       {"stderr", m.has_stderr() ? Json(m.stderr()) : Json()}});
  Json json{{"number", trial.number()},
            {"job", trial.job_id()},
            {"state", state_name(trial.state())},
            {"values", values},
            {"rung", trial.rung()},
            {"fidelity", embedded(trial.fidelity_json())},
            {"parent", trial.parent()},
            {"metrics", metrics},
            {"feasible", trial.feasible()},
            {"artifact_digest", trial.result()},
            {"bytes", trial.bytes()},
            {"seconds", trial.seconds()}};
  if (trial.has_error()) json["error"] = error_json(trial.error());
  return json;
}

}  // namespace wring
