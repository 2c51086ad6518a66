// Rows to losses.
#include "server/sweeps/outcome.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace wring {
namespace {

constexpr int kMostRows = 10'000;

Json to_metric(const v1::Evaluation& row) {
  Json metric{{"suite", row.suite()}, {"metric", row.metric()}, {"value", row.value()}, {"unit", row.unit()}};
  if (row.has_baseline_value()) metric["baseline"] = row.baseline_value();
  if (row.has_stderr()) metric["stderr"] = row.stderr();
  return metric;
}

std::vector<v1::Evaluation> rows_of(const std::string& job, JobStore& store) {
  EvaluationFilter filter;
  filter.job = job;
  filter.limit = kMostRows;
  return store.evaluations(filter).rows;
}

// Names each row's evaluation. Rows come evaluation by evaluation: a metric that was there begins the next
// one of its suite.
class Evaluations {
 public:
  explicit Evaluations(const Json& recipe) : recipe_(recipe), names_(named_evaluations(recipe)) {}

  std::string name(const v1::Evaluation& row) {
    auto& [index, metrics] = at_[{row.suite(), row.when()}];
    if (!metrics.insert(row.metric()).second) {
      ++index;
      metrics = {row.metric()};
    }
    const auto& evaluations = recipe_.at("evaluations");
    std::size_t left = index;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      const auto when = json_or<Json>(evaluations[i], "when", Json::array());
      if (evaluations[i].at("suite") == row.suite() && count(when, row.when()) && left-- == 0)
        return names_[i];
    }
    return row.suite();
  }

 private:
  static bool count(const Json& when, const std::string& moment) {
    return std::find(when.begin(), when.end(), Json(moment)) != when.end();
  }

  const Json& recipe_;  // a normal form
  const std::vector<std::string> names_;
  std::map<std::pair<std::string, std::string>, std::pair<std::size_t, std::set<std::string>>> at_;
};

Json metrics_of(const std::vector<v1::Evaluation>& rows, const Json& recipe) {
  std::map<std::pair<std::string, std::string>, std::pair<bool, Json>> first;  // after?, row
  Evaluations evaluations(recipe);
  for (const auto& row : rows) {
    const bool after = row.when() == "after";
    if ((!after && row.when() != "before") || !row.text().empty()) continue;
    auto metric = to_metric(row);
    metric["suite"] = evaluations.name(row);
    const auto [known, is_new] = first.try_emplace({metric["suite"], row.metric()}, after, metric);
    if (!is_new && after && !known->second.first) known->second = {after, metric};
  }
  Json metrics = Json::array();
  for (auto& [name, row] : first) metrics.push_back(std::move(row.second));
  return metrics;
}

double missing(double by, double bound) {
  return std::max(0.0, by) / std::max(std::abs(bound), 1e-12);
}

// nullopt, too, where what the worker sent is no JSON.
std::optional<Json> details_of(const char* suite, const std::vector<v1::Evaluation>& rows) try {
  for (const auto& row : rows)
    if (row.suite() == suite) return parse_json(row.details_json(), suite);
  return std::nullopt;
} catch (const Error&) {
  return std::nullopt;
}

}  // namespace

const Json* find_metric_row(const Json& outcome, const Metric& metric) {
  const auto metrics = outcome.find("metrics");
  if (metrics == outcome.end()) return nullptr;
  for (const auto& row : *metrics)
    if (row.at("suite") == metric.suite && row.at("metric") == metric.name && row.at("value").is_number())
      return &row;
  return nullptr;
}

Json outcome_of(const StoredJob& job, JobStore& store) {
  const JobRecord& r = job.record;
  Json outcome{
      {"result", r.result},
      {"seconds",
       r.start_time > 0 ? static_cast<double>(std::max<TimeMs>(0, r.end_time - r.start_time)) / 1000 : 0.0}};
  if (r.phase == JobPhase::kFailed && r.error) {
    outcome["error"] = *r.error;
    outcome["error"].erase("last_log");
  }
  if (r.phase != JobPhase::kSucceeded) return outcome;
  const auto rows = rows_of(r.id, store);
  outcome["metrics"] = metrics_of(rows, parse_json(job.normal_form, "the recipe's normal form"));
  if (auto table = details_of("sensitivity", rows)) outcome["sensitivity"] = std::move(*table);
  if (auto table = details_of("level-times", rows)) outcome["level_times"] = std::move(*table);
  if (const auto artifact = r.result.empty() ? std::nullopt : store.artifact(r.result, r.project))
    outcome["bytes"] = artifact->total_bytes();
  return outcome;
}

std::optional<double> violation_of(const Json& outcome, const std::vector<Constraint>& constraints) {
  double violation = 0;
  for (const auto& constraint : constraints) {
    const Json* const row = find_metric_row(outcome, constraint.metric);
    if (!row || (constraint.of_input && !row->contains("baseline"))) return std::nullopt;
    const double value = row->at("value").get<double>();
    const double unit = constraint.of_input ? row->at("baseline").get<double>() : 1;
    if (constraint.minimum)
      violation += missing(*constraint.minimum * unit - value, *constraint.minimum * unit);
    if (constraint.maximum)
      violation += missing(value - *constraint.maximum * unit, *constraint.maximum * unit);
  }
  return violation;
}

Measured measured_of(const Json& outcome, const std::vector<Objective>& objectives,
                     const std::vector<Constraint>& constraints) {
  Measured measured;
  const auto violation = violation_of(outcome, constraints);
  if (!violation) return {};
  measured.violation = *violation;
  for (const auto& objective : objectives) {
    const Json* const row = find_metric_row(outcome, objective.metric);
    if (!row) return {};
    const double value = row->at("value").get<double>();
    if (!std::isfinite(value)) return {};
    measured.losses.push_back(objective.maximise ? -value : value);
  }
  return measured;
}

}  // namespace wring
