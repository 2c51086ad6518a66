// The table of suites, and rows as JSON.
#include "engine/eval/suite.h"

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

Suite find_suite(const std::string& name) {
  const auto it = suites().find(name);
  if (it == suites().end())
    throw Error(ErrorCode::kUnimplemented, "UNKNOWN_SUITE",
                "this engine has no evaluation suite '" + name + "'");
  return it->second;
}

Json EvaluationRow::to_json() const {
  Json json{{"suite", suite}, {"metric", metric}, {"value", value}, {"unit", unit},
            {"n", n},         {"seed", seed},     {"when", when}};
  json["stderr"] = standard_error ? Json(*standard_error) : Json();
  json["baseline_value"] = baseline_value ? Json(*baseline_value) : Json();
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
  row.seed = json_or<std::uint64_t>(json, "seed", 0, "evaluation");
  row.hardware = json_or<std::string>(json, "hardware", "", "evaluation");
  row.when = json_or<std::string>(json, "when", "", "evaluation");
  row.text = json_or<std::string>(json, "text", "", "evaluation");
  row.details = json_or<Json>(json, "details", Json::object(), "evaluation");
  row.artifact = json_or<std::string>(json, "artifact", "", "evaluation");
  return row;
}

}  // namespace wring
