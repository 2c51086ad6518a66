// What a recipe becomes for one model: its steps in order with their keys, and the layers that its stages
// target.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/calibrate/statistics.h"
#include "engine/model/model.h"
#include "engine/run/body.h"
#include "engine/run/job.h"
#include "recipe/stage_key.h"

namespace wring {

// A step with what it runs: a stage, an evaluation or an export of the spec's recipe, or what gathers the
// statistics of the one that comes next.
struct Step {
  // Of the stage, evaluation or export; none of statistics.
  const Json& params() const {
    return stage ? stage->params : evaluation ? evaluation->params : exported->params;
  }

  StepPlan plan;
  const StageSpec* stage = nullptr;
  std::size_t stage_index = 0;               // of it, in the recipe
  std::optional<std::size_t> reference;      // the stage whose output it works towards, likewise
  std::optional<StatisticsSpec> statistics;  // those that the step after it reads
  const EvaluationSpec* evaluation = nullptr;
  const ExportSpec* exported = nullptr;
  std::string when;   // of an evaluation: "before", "after", stage index; of an export: "export: gguf"
  std::string field;  // "stages[0]", for messages
};

std::string stage_field(std::size_t index);

// Stages, evaluations and exports in the order in which they run. Points into the spec.
std::vector<Step> plan_steps(const JobSpec& spec);

// The evaluation's parameters with `arithmetic` settled where it is left to us (auto): as the runtime of the
// model's files computes where it is measured `as_served`.
Json settled_params(const EvaluationSpec& evaluation, bool as_served);
// Whether models are measured and no more: the recipe has neither stages nor exports.
bool measures_alone(const Recipe& recipe);

const Step* last_stage(const std::vector<Step>& steps);  // nullptr where only evaluations are planned

std::set<Statistic> statistics_named(const StatisticsSpec& statistics);

// What evaluations compare with, and what stages that need a reference work towards.
const JobInput& dense_input(const JobSpec& spec);

// The digests of the data that a method or suite reads with these parameters.
std::map<std::string, Digest> data_of(const JobSpec& spec, const std::string& name, const Json& params);

// Those of all that a stage reads beside its model: data, and where it needs that the reference, unless that
// is another stage's output.
std::map<std::string, Digest> inputs_of(const JobSpec& spec, const StageSpec& stage);

// The layers that a stage compresses. Throws Error(kInvalidArgument, "NO_TARGETS").
std::set<const Layer*> targets_of(const StageSpec& stage, const std::string& field, const Model& model);

// Every stage and export against the model's kind, every stage against the layers it targets, before anything
// runs. Throws Error.
void check_recipe(const JobSpec& spec, const Body& body, const FileTree& source);

}  // namespace wring
