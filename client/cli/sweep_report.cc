// Tables of trials.
#include "client/cli/sweep_report.h"

#include <cstdio>
#include <set>
#include <utility>

#include "client/cli/csv.h"
#include "common/text.h"

namespace wring {
namespace {

using MetricName = std::pair<std::string, std::string>;  // suite, metric

// What stands behind the last dot, where that tells the dimensions apart.
std::vector<std::string> columns_of(const v1::Sweep& sweep) {
  const auto last = [](const std::string& path) { return path.substr(path.rfind('.') + 1); };
  std::multiset<std::string> names;
  for (const auto& path : sweep.dimensions()) names.insert(last(path));
  std::vector<std::string> columns;
  for (const auto& path : sweep.dimensions())
    columns.push_back(names.count(last(path)) == 1 ? last(path) : path);
  return columns;
}

// With the suite where the recipe has several evaluations of it: "perplexity[1]/kl_mean".
std::string goal_name(const std::string& suite, const std::string& metric) {
  return suite.ends_with(']') ? suite + "/" + metric : metric;
}

const v1::TrialMetric* find(const v1::Trial& trial, const MetricName& name) {
  for (const auto& metric : trial.metrics())
    if (metric.suite() == name.first && metric.metric() == name.second) return &metric;
  return nullptr;
}

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string shown(const v1::TrialMetric& metric) {
  return metric.unit() == "bytes" ? human_bytes(static_cast<std::uint64_t>(metric.value()))
                                  : shown(metric.value());
}

std::string value_text(const std::string& json) {
  const auto value = Json::parse(json, nullptr, false);
  if (value.is_number_float()) return shown(value.get<double>());
  return value.is_string() ? value.get<std::string>() : json;
}

std::vector<MetricName> judged(const v1::Sweep& sweep) {
  std::vector<MetricName> names;
  std::set<MetricName> seen;
  const auto add = [&](const auto& goal) {
    if (seen.emplace(goal.suite(), goal.metric()).second) names.emplace_back(goal.suite(), goal.metric());
  };
  for (const auto& objective : sweep.objectives()) add(objective);
  for (const auto& constraint : sweep.constraints()) add(constraint);
  return names;
}

bool has_rungs(const v1::Sweep& sweep) {
  return sweep.strategy() == "asha" || sweep.strategy() == "successive-halving";
}

std::string share(const v1::Constraint& constraint, double bound) {
  return constraint.of_input() ? shown(bound * 100) + " % of the input's" : shown(bound);
}

}  // namespace

std::string describe_sweep(const v1::Sweep& sweep) {
  std::vector<std::vector<std::string>> rows{{"sweep", sweep.id()},
                                             {"project", sweep.spec().project()},
                                             {"name", sweep.spec().name()},
                                             {"state", state_name(sweep.state())}};
  const auto add = [&](const char* label, const std::string& value) {
    if (!value.empty()) rows.push_back({label, value});
  };
  add("", sweep.end_reason());
  add("waiting", sweep.waiting_reason());
  add("strategy", sweep.strategy() + (sweep.strategy_state().empty() ? "" : ": " + sweep.strategy_state()));
  for (const auto& path : sweep.dimensions()) add("varies", path);
  for (const auto& objective : sweep.objectives())
    add("objective", goal_name(objective.suite(), objective.metric()) +
                         (objective.maximise() ? ", higher is better" : ", lower is better"));
  for (const auto& c : sweep.constraints()) {
    const auto name = goal_name(c.suite(), c.metric());
    if (c.has_minimum()) add("constraint", name + " at least " + share(c, c.minimum()));
    if (c.has_maximum()) add("constraint", name + " at most " + share(c, c.maximum()));
  }
  const auto of = [](std::uint64_t bound, const std::string& text) { return bound > 0 ? " of " + text : ""; };
  add("trials",
      std::to_string(sweep.trials()) + of(sweep.expected_trials(), std::to_string(sweep.expected_trials())) +
          ": " + std::to_string(sweep.succeeded()) + " succeeded, " + std::to_string(sweep.failed()) +
          " failed, " + std::to_string(sweep.cancelled()) + " cancelled, " + std::to_string(sweep.running()) +
          " running, " + std::to_string(sweep.queued()) + " queued");
  add("results",
      human_bytes(sweep.bytes()) + of(sweep.bounds().bytes(), human_bytes(sweep.bounds().bytes())));
  if (sweep.bounds().seconds() > 0) add("at most", human_duration(sweep.bounds().seconds()));
  return table(rows);
}

std::string trials_table(const std::vector<v1::Trial>& trials, const v1::Sweep& sweep) {
  const auto metrics = judged(sweep);
  std::vector<std::string> head{"TRIAL", "JOB", "STATE"};
  if (has_rungs(sweep)) head.push_back("FIDELITY");
  for (auto& column : columns_of(sweep)) head.push_back(std::move(column));
  for (const auto& [suite, metric] : metrics) head.push_back(goal_name(suite, metric));
  if (sweep.constraints_size() > 0) head.push_back("FEASIBLE");
  head.push_back("RESULT");
  std::vector<std::vector<std::string>> rows{head};
  for (const auto& trial : trials) {
    std::vector<std::string> row{std::to_string(trial.number()), trial.job_id(), state_name(trial.state())};
    if (has_rungs(sweep)) row.push_back(trial.fidelity_json());
    for (const auto& value : trial.values_json()) row.push_back(value_text(value));
    for (const auto& metric : metrics) {
      const auto* const found = find(trial, metric);
      row.push_back(found ? shown(*found) : "");
    }
    if (sweep.constraints_size() > 0)
      row.push_back(trial.metrics_size() == 0 ? "" : trial.feasible() ? "yes" : "no");
    row.push_back(trial.has_error() ? trial.error().message() : trial.result().substr(0, 12));
    rows.push_back(std::move(row));
  }
  return table(rows);
}

std::string trials_csv(const std::vector<v1::Trial>& trials, const v1::Sweep& sweep) {
  std::set<MetricName> metrics;
  for (const auto& trial : trials)
    for (const auto& metric : trial.metrics()) metrics.emplace(metric.suite(), metric.metric());
  std::vector<Json> head{"trial", "job", "state", "rung", "fidelity", "parent"};
  for (const auto& path : sweep.dimensions()) head.emplace_back(path);
  for (const auto& [suite, metric] : metrics) head.emplace_back(suite + "/" + metric);
  for (const auto* name : {"feasible", "artifact", "bytes", "seconds", "error"}) head.emplace_back(name);
  std::string text = csv_line(head);
  for (const auto& trial : trials) {
    const Json json = to_json(trial, sweep);
    std::vector<Json> row{json["number"], json["job"],      json["state"],
                          json["rung"],   json["fidelity"], trial.parent() < 0 ? Json() : json["parent"]};
    for (const auto& path : sweep.dimensions()) row.push_back(json["values"].value(path, Json()));
    for (const auto& metric : metrics) {
      const auto* const found = find(trial, metric);
      row.push_back(found ? Json(found->value()) : Json());
    }
    row.insert(row.end(), {json["feasible"], json["artifact_digest"], json["bytes"], json["seconds"],
                           trial.has_error() ? Json(trial.error().message()) : Json()});
    text += csv_line(row);
  }
  return text;
}

}  // namespace wring
