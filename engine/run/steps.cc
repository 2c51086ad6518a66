// Planning: pure functions of the job's spec and the model.
#include "engine/run/steps.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/text.h"
#include "engine/methods/graph_method.h"
#include "engine/run/checked_export.h"
#include "engine/run/hardware.h"
#include "recipe/levels.h"
#include "recipe/model_kind.h"
#include "recipe/stage_key.h"
#include "recipe/stage_reference.h"

namespace wring {
namespace {

std::string export_field(std::size_t index) {
  return "exports[" + std::to_string(index) + "]";
}

std::string evaluation_field(std::size_t index) {
  return "evaluations[" + std::to_string(index) + "]";
}

class Planner {
 public:
  explicit Planner(const JobSpec& spec) : spec_(spec) {}

  std::vector<Step> steps() {
    StageKeyInputs state{spec_.model.digest,
                         {},
                         spec_.seed,
                         spec_.device.substr(0, spec_.device.find(':')),
                         kernel_level(spec_.device)};
    state.processes = spec_.processes;
    const auto& stages = spec_.recipe.stages;
    add_evaluations("before", state);
    std::vector<Digest> made;  // by the stages so far
    for (std::size_t i = 0; i < stages.size(); ++i) {
      const auto& stage = stages[i];
      add_statistics(stage.method, stage.params, stage_field(i), state);
      state.data = inputs_of(spec_, stage);
      const auto reference = reference_index(stages, i);
      if (reference) state.data["reference"] = made.at(*reference);
      const Digest key = stage_key(stage, state);
      steps_.push_back({.plan = {steps_.size(), stage.method, "stage", key},
                        .stage = &stage,
                        .stage_index = i,
                        .reference = reference,
                        .field = stage_field(i)});
      made.push_back(key);
      state.input = key;
      if (i + 1 < stages.size()) add_evaluations(std::to_string(i), state);
    }
    if (!stages.empty()) add_evaluations("after", state);
    for (std::size_t i = 0; i < spec_.recipe.exports.size(); ++i) {
      const auto& exported = spec_.recipe.exports[i];
      const std::string name =
          "export: " + call_text(Catalogue::embedded().format(exported.format, "exports"), exported.params);
      steps_.push_back({.plan = {steps_.size(), name, "export", std::nullopt},
                        .exported = &exported,
                        .when = name,
                        .field = export_field(i)});
    }
    return std::move(steps_);
  }

 private:
  // Of what comes next.
  void add_statistics(const std::string& name, const Json& params, const std::string& field,
                      StageKeyInputs state) {
    auto statistics = spec_.share_statistics ? statistics_of(name, params) : std::nullopt;
    if (!statistics) return;
    state.data = data_of(spec_, name, params);
    StepPlan plan{steps_.size(), "statistics: " + join(statistics->which, ", "), "statistics",
                  statistics_key(*statistics, state)};
    steps_.push_back({.plan = plan, .statistics = std::move(statistics), .field = field});
  }

  void add_evaluations(const std::string& when, StageKeyInputs state) {
    for (std::size_t i = 0; i < spec_.recipe.evaluations.size(); ++i) {
      const auto& evaluation = spec_.recipe.evaluations[i];
      if (!spec_.recipe.is_due(evaluation, when)) continue;
      const auto& suite = Catalogue::embedded().suite(evaluation.suite, "evaluations");
      add_statistics(evaluation.suite, evaluation.params, evaluation_field(i), state);
      state.data = data_of(spec_, evaluation.suite, evaluation.params);
      state.data["reference"] = dense_input(spec_).digest;
      StepPlan plan{steps_.size(), "evaluate: " + evaluation.suite + " (" + when + ")", "evaluation",
                    std::nullopt};
      EvaluationSpec keyed = evaluation;
      keyed.params = settled_params(evaluation, measures_alone(spec_.recipe));
      if (!suite.keyed_by_hardware) plan.key = evaluation_key(keyed, state);
      steps_.push_back({.plan = plan, .evaluation = &evaluation, .when = when, .field = evaluation_field(i)});
    }
  }

  const JobSpec& spec_;
  std::vector<Step> steps_;
};

void check_graph_stages(const Recipe& recipe, const Graph& graph) {
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    const auto& stage = recipe.stages[i];
    const std::string field = stage_field(i);
    const auto method = make_graph_method(stage.method, Params(stage.params, field + ".params"));
    const GraphTargets targets(stage, field);
    if (!targets.takes_all() && !method->takes_targets())
      throw Error(ErrorCode::kInvalidArgument, "NO_TARGETS", stage.method + " takes no targets of a graph",
                  field + ".targets", "Leave targets and ignore out: it trains all parameters.");
    method->check(graph);
    targets.check(graph);
  }
}

// What a stage needs by its spec is what the method's code asks for (a test compares them).
bool needs_reference(const StageSpec& stage) {
  const auto& needs = Catalogue::embedded().find(stage.method)->needs;
  return std::find(needs.begin(), needs.end(), "reference") != needs.end();
}

void check_first_stage(const JobSpec& spec) {
  if (spec.reference || spec.recipe.stages.empty() || !needs_reference(spec.recipe.stages[0])) return;
  throw Error(ErrorCode::kInvalidArgument, "NO_REFERENCE",
              spec.recipe.stages[0].method +
                  " puts back what was lost since the reference model, which is the input itself",
              stage_field(0) + ".method",
              "Put a stage in front of it, or hand in the original model as the reference.");
}

// Of stages[index], which compares layers: stages[by] was the last before it to change them.
[[noreturn]] void throw_layers_changed(const Recipe& recipe, std::size_t index, std::size_t by) {
  throw Error(
      ErrorCode::kInvalidArgument, "REFERENCE_MISMATCH",
      recipe.stages[index].method + " compares layers with its reference's, and after that " +
          stage_field(by) + " (" + recipe.stages[by].method + ") moves scales between layers or cuts them",
      stage_field(index) + ".params.reference",
      by + 1 < index ? "Compare with what that stage makes: reference=" + std::to_string(by) + "."
                     : "Nothing was lost since that stage: put the one that loses something between.");
}

// The last stage that changes layers' meaning since the reference of stages[index].
std::optional<std::size_t> last_change(const Recipe& recipe, std::size_t index,
                                       const std::vector<bool>& keeps_layers) {
  const auto reference = reference_index(recipe.stages, index);
  for (std::size_t i = index; i > (reference ? *reference + 1 : 0); --i)
    if (!keeps_layers[i - 1]) return i - 1;
  return std::nullopt;
}

}  // namespace

std::string stage_field(std::size_t index) {
  return "stages[" + std::to_string(index) + "]";
}

std::vector<Step> plan_steps(const JobSpec& spec) {
  return Planner(spec).steps();
}

Json settled_params(const EvaluationSpec& evaluation, bool as_served) {
  Json params = evaluation.params;
  if (json_or<std::string>(params, "arithmetic", "", "evaluations") == "auto")
    params["arithmetic"] = as_served ? "runtime" : "fp32";
  return params;
}

bool measures_alone(const Recipe& recipe) {
  return recipe.stages.empty() && recipe.exports.empty();
}

const Step* last_stage(const std::vector<Step>& steps) {
  const auto it = std::find_if(steps.rbegin(), steps.rend(), [](const Step& step) { return step.stage; });
  return it == steps.rend() ? nullptr : &*it;
}

std::set<Statistic> statistics_named(const StatisticsSpec& statistics) {
  std::set<Statistic> which;
  for (const auto& name : statistics.which) which.insert(statistic_named(name));
  return which;
}

const JobInput& dense_input(const JobSpec& spec) {
  return spec.reference ? *spec.reference : spec.model;
}

std::map<std::string, Digest> data_of(const JobSpec& spec, const std::string& name, const Json& params) {
  std::map<std::string, Digest> used;
  for (const auto& parameter : Catalogue::embedded().find(name)->parameters)
    if (parameter.type == "data")
      used.emplace(parameter.name, spec.data.at(params.at(parameter.name).get<std::string>()).digest);
  return used;
}

std::map<std::string, Digest> inputs_of(const JobSpec& spec, const StageSpec& stage) {
  auto used = data_of(spec, stage.method, stage.params);
  if (!names_reference(stage) && needs_reference(stage)) used.emplace("reference", dense_input(spec).digest);
  return used;
}

std::set<const Layer*> targets_of(const StageSpec& stage, const std::string& field, const Model& model) {
  std::set<const Layer*> chosen;
  for (const Layer* layer : model.layers())
    if (stage.takes(layer->name(), layer->class_name())) chosen.insert(layer);
  if (chosen.empty())
    throw Error(ErrorCode::kInvalidArgument, "NO_TARGETS", "no layer of this model matches",
                field + ".targets",
                "Layers are named as in Hugging Face's model, e.g. " + model.layers().back()->name() +
                    "; classes: Linear, Embedding.");
  return chosen;
}

void check_recipe(const JobSpec& spec, const Body& body, const FileTree& source) {
  check_model_kind(spec.recipe, {body.kind()});
  check_first_stage(spec);
  if (body.is_graph()) return check_graph_stages(spec.recipe, body.graph());
  const Model& model = body.model();
  const Recipe& recipe = spec.recipe;
  std::vector<bool> keeps_layers;
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    const auto& stage = recipe.stages[i];
    const std::string field = stage_field(i);
    const auto method = make_method(stage.method, Params(stage.params, field + ".params"));
    const auto change = last_change(recipe, i, keeps_layers);
    if (method->compares_layers() && change) throw_layers_changed(recipe, i, *change);
    keeps_layers.push_back(method->keeps_layers());
    method->check_model(model, targets_of(stage, field, model));
  }
  for (std::size_t i = 0; i < recipe.exports.size(); ++i)
    check_export(recipe.exports[i], model, source, export_field(i));
}

}  // namespace wring
