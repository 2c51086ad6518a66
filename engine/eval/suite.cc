// The table of suites, and rows as JSON.
#include "engine/eval/suite.h"

#include <cmath>
#include <map>

#include "common/error.h"

namespace wring {
namespace {

std::map<std::string, Suite>& suites() {
  static std::map<std::string, Suite> table;
  return table;
}

}  // namespace

bool register_suite(const char* name, Suite suite) {
  return suites().emplace(name, suite).second;
}

ServedModel::ServedModel(const Params& params, const EvaluationInput& input)
    : arithmetic_(params.get<std::string>("arithmetic") == "runtime" ? &input.model : nullptr) {}

void ServedModel::note(std::vector<EvaluationRow>& rows) const {
  if (arithmetic_.rounds()) rows.front().details["arithmetic"] = "llama.cpp";
}

Suite find_suite(const std::string& name) {
  const auto it = suites().find(name);
  if (it == suites().end())
    throw Error(ErrorCode::kUnimplemented, "UNKNOWN_SUITE",
                "this engine has no evaluation suite '" + name + "'");
  return it->second;
}

namespace {

struct WindowSums {
  std::vector<double> nll, scored;
};

std::optional<WindowSums> windows_of(const std::vector<EvaluationRow>& rows) {
  for (const auto& row : rows)
    if (row.details.contains("window_nll") && row.details.contains("window_scored"))
      return WindowSums{row.details.at("window_nll").get<std::vector<double>>(),
                        row.details.at("window_scored").get<std::vector<double>>()};
  return std::nullopt;
}

}  // namespace

void pair_by_window(std::vector<EvaluationRow>& rows, const std::vector<EvaluationRow>& before) {
  const auto ours = windows_of(rows), theirs = windows_of(before);
  if (!ours || !theirs || ours->scored != theirs->scored || ours->nll.size() != theirs->nll.size()) return;
  const std::size_t windows = ours->nll.size();
  if (windows < 2) return;
  double change = 0, scored = 0, squares = 0;
  for (std::size_t i = 0; i < windows; ++i) {
    change += ours->nll[i] - theirs->nll[i];
    scored += ours->scored[i];
  }
  for (std::size_t i = 0; i < windows; ++i) {
    const double apart = ours->nll[i] - theirs->nll[i] - change / scored * ours->scored[i];
    squares += apart * apart;
  }
  const double count = static_cast<double>(windows),
               error = std::sqrt(count / (count - 1) * squares) / scored;
  for (auto& row : rows) {
    if (row.metric == "nll") row.change_error = error;
    if (row.metric == "perplexity") row.change_error = row.value * error;
  }
}

Json EvaluationRow::to_json() const {
  Json json{{"suite", suite}, {"metric", metric}, {"value", value}, {"unit", unit},
            {"n", n},         {"seed", seed},     {"when", when}};
  json["stderr"] = standard_error ? Json(*standard_error) : Json();
  json["baseline_value"] = baseline_value ? Json(*baseline_value) : Json();
  if (change_error) json["change_stderr"] = *change_error;
  if (!hardware.empty()) json["hardware"] = hardware;
  if (!text.empty()) json["text"] = text;
  if (!details.empty()) json["details"] = details;
  if (!artifact.empty()) json["artifact"] = artifact;
  return json;
}

EvaluationRow EvaluationRow::from_json(const Json& json) {
  EvaluationRow row;
  row.suite = json_at<std::string>(json, "suite", "evaluation");
  row.metric = json_at<std::string>(json, "metric", "evaluation");
  row.value = json_at<double>(json, "value", "evaluation");
  row.unit = json_or<std::string>(json, "unit", "", "evaluation");
  row.n = json_or<std::uint64_t>(json, "n", 0, "evaluation");
  const auto number = [&](const char* key) {
    const auto it = json.find(key);
    return it == json.end() || it->is_null() ? std::optional<double>()
                                             : json_at<double>(json, key, "evaluation");
  };
  row.standard_error = number("stderr");
  row.baseline_value = number("baseline_value");
  row.change_error = number("change_stderr");
  row.seed = json_or<std::uint64_t>(json, "seed", 0, "evaluation");
  row.hardware = json_or<std::string>(json, "hardware", "", "evaluation");
  row.when = json_or<std::string>(json, "when", "", "evaluation");
  row.text = json_or<std::string>(json, "text", "", "evaluation");
  row.details = json_or<Json>(json, "details", Json::object(), "evaluation");
  row.artifact = json_or<std::string>(json, "artifact", "", "evaluation");
  return row;
}

}  // namespace wring
