// The verbs compress and sensitivity: what a model is to come to instead of how, and what each layer would
// lose.
#include <filesystem>
#include <map>
#include <memory>

#include "client/cli/context.h"
#include "client/cli/sensitivity_report.h"
#include "client/cli/submit.h"
#include "client/cli/sweep_report.h"
#include "client/cli/sweep_submit.h"
#include "client/cli/transfers.h"
#include "common/error.h"
#include "common/ids.h"
#include "common/quantity.h"
#include "recipe/goal.h"
#include "recipe/recipe_input.h"
#include "recipe/utf8.h"

namespace wring {
namespace {

// What calibrates, for both verbs.
struct CalibrationFlags {
  std::vector<std::string> data;
  std::string levels;
  std::uint32_t samples = 0, sequence_length = 0;
  std::int64_t kl_tokens = -1;
};

void add_calibration_flags(CLI::App& verb, CalibrationFlags& flags) {
  verb.add_option(
      "--levels", flags.levels,
      "What a layer may become: 'gptq(bits=3) | gptq(bits=4)', stages of methods that go layer by "
      "layer");
  verb.add_option("--samples", flags.samples, "Calibration sequences; default: 64");
  verb.add_option("--sequence-length", flags.sequence_length, "Tokens of a sequence; default: 512");
  verb.add_option(
      "--kl-tokens", flags.kl_tokens,
      "Tokens on which the KL divergence with one layer changed is measured; 0: none, default: 512");
}

Json settings(const CalibrationFlags& flags) {
  Json settings = Json::object();
  if (!flags.levels.empty()) settings["levels"] = flags.levels;
  if (flags.samples > 0) settings["samples"] = flags.samples;
  if (flags.sequence_length > 0) settings["sequence_length"] = flags.sequence_length;
  if (flags.kl_tokens >= 0) settings["kl_tokens"] = flags.kl_tokens;
  return settings;
}

std::map<std::string, std::string> data_by_name(const std::vector<std::string>& texts) {
  std::map<std::string, std::string> data;
  for (const auto& text : texts) add_data_input(data, parse_data_input(text));
  return data;
}

std::string model_name(const std::string& path) {
  const std::filesystem::path model(path);
  return (model.has_filename() ? model : model.parent_path()).filename().string();
}

struct CompressFlags : CalibrationFlags {
  std::string model, goal, recipe, propagate, recipe_out;
  std::int64_t plans = -1, uniform = -1;
  std::uint64_t seed = 0;
  SweepFlags sweep;
};

std::string goal_sweep(const CompressFlags& flags) {
  parse_goal(flags.goal, "--goal");
  Json strategy = settings(flags);
  strategy["name"] = "goal";
  if (!flags.propagate.empty()) strategy["propagate"] = flags.propagate;
  if (flags.plans >= 0) strategy["plans"] = flags.plans;
  if (flags.uniform >= 0) strategy["uniform"] = flags.uniform;
  return Json{{"name", shortened(model_name(flags.model) + " to " + flags.goal, 180)},
              {"model", flags.model},
              {"data", data_by_name(flags.data)},
              {"seed", flags.seed},
              {"goal", flags.goal},
              {"strategy", strategy}}
      .dump();
}

// The best trial, or the nearest where none holds the bounds.
std::optional<v1::Trial> pick_of(const v1::QueryFrontResponse& front) {
  if (front.any_feasible()) return front.trials(0);
  return front.has_nearest() ? std::optional(front.nearest()) : std::nullopt;
}

void print_pick(CliContext& context, const v1::Sweep& sweep, const CompressFlags& flags) {
  v1::QueryFrontRequest request;
  request.set_id(sweep.id());
  const auto front = context.client().front(request);
  const auto pick = pick_of(front);
  const Json recipe = pick ? trial_recipe(context, *pick) : Json();
  if (pick && !flags.recipe_out.empty()) write_recipe(recipe, flags.recipe_out);
  if (!front.any_feasible()) context.status = exit_status(ErrorCode::kNotFound);
  if (context.json) {
    Json list = Json::array();
    for (const auto& trial : front.trials()) list.push_back(to_json(trial, sweep));
    return context.print_json({{"sweep", to_json(sweep)},
                               {"met", front.any_feasible()},
                               {"reason", sweep.end_reason()},
                               {"front", list},
                               {"pick", pick ? to_json(*pick, sweep) : Json()},
                               {"recipe", recipe}});
  }
  context.print(sweep.end_reason() + "\n\n" + trials_table(context.client().trials(sweep.id()), sweep));
  if (!pick) return;
  context.print("\nthe pick   wring get " + pick->result().substr(0, 12) +
                " --out DIR\nits report wring report " + pick->job_id() + "\n");
  if (!flags.recipe_out.empty()) context.print("its recipe " + flags.recipe_out + "\n");
}

void compress(CliContext& context, const CompressFlags& flags) {
  const std::string recipe = flags.recipe.empty() ? "" : read_recipe(flags.recipe);
  const auto sweep = submit_sweep(context, flags.sweep, sweep_spec(flags.sweep, goal_sweep(flags), recipe));
  if (flags.sweep.validate) return print_sweep(context, sweep);
  if (flags.sweep.wait) return print_pick(context, sweep, flags);
  print_sweep(context, sweep);
  if (!context.json)
    context.print("  wring sweep wait " + sweep.id() + "\n  wring sweep best " + sweep.id() + "\n");
}

struct SensitivityFlags : CalibrationFlags {
  std::string model, job, project, device, worker_class;
  std::uint32_t threads = 0;
  bool csv = false;
};

v1::Job measured_job(CliContext& context, const SensitivityFlags& flags) {
  if (!flags.job.empty()) return context.client().get(flags.job);
  if (flags.model.empty())
    throw Error(ErrorCode::kInvalidArgument, "MISSING_INPUT", "neither a model nor a job is named", "MODEL",
                "wring sensitivity MODEL --data calibration=PATH, or --job ID of one that was measured.");
  const Json evaluation{{"suite", "sensitivity"}, {"params", settings(flags)}};
  v1::JobSpec spec;
  spec.set_recipe(Json{{"evaluations", {evaluation}}}.dump());
  const auto recipe = parse_recipe(spec.recipe());
  spec.set_name(shortened("sensitivity of " + model_name(flags.model), 180));
  spec.set_project(flags.project);
  spec.mutable_resources()->set_threads(flags.threads);
  spec.mutable_resources()->set_device(flags.device);
  spec.mutable_resources()->set_worker_class(flags.worker_class);
  auto data = data_by_name(flags.data);
  for (const auto& name : recipe.data_names())
    if (!data.contains(name))
      throw Error(ErrorCode::kInvalidArgument, "MISSING_DATA", "sensitivity is measured on a text", "--data",
                  "--data " + name + "=PATH");
  for (const auto& name : recipe.data_names())
    (*spec.mutable_data())[name] = input_digest(context, data.at(name), "dataset");
  spec.set_model(input_digest(context, flags.model, "model"));
  return follow_job(context, context.client().submit(spec, random_uuid()));
}

void sensitivity(CliContext& context, const SensitivityFlags& flags) {
  const auto job = measured_job(context, flags);
  if (job.state() != v1::JOB_STATE_SUCCEEDED) return print_ended_job(context, job);
  v1::QueryEvaluationsRequest request;
  request.set_job_id(job.id());
  request.set_suite("sensitivity");
  const auto rows = context.client().evaluations(request);
  if (rows.evaluations().empty())
    throw Error(ErrorCode::kNotFound, "NO_SENSITIVITY", "job " + job.id() + " measured no sensitivity",
                "--job", "wring sensitivity MODEL --data calibration=PATH measures one.");
  const Json table = parse_json(rows.evaluations(0).details_json(), "sensitivity");
  if (context.json) return context.print_json(Json{{"job", job.id()}, {"sensitivity", table}});
  context.print(flags.csv ? sensitivity_csv(table) : sensitivity_table(table));
}

}  // namespace

void add_goal_verbs(CLI::App& app, CliContext& context) {
  auto* verb = add_verb(app, "compress", "Say what a model is to come to; methods and levels are planned",
                        "wring compress smollm2/ --goal 'bytes<=22%, kl=min' --data calibration=train.txt "
                        "--data test=test.txt --wait\n"
                        "  wring compress smollm2/ --goal 'ppl<=+2%' --data calibration=train.txt "
                        "--data test=test.txt --wait\n"
                        "  wring compress smollm2/ --goal 'speedup>=1.5x on epyc, memory<=50%, ppl<=+2%' "
                        "--data calibration=train.txt --data test=test.txt --wait\n"
                        "  wring compress minilm/ --goal 'bytes<=65%, cosine=max' --data calibration=a.txt "
                        "--data test=b.txt --wait");
  const auto flags = std::make_shared<CompressFlags>();
  verb->add_option("MODEL", flags->model, "Folder, file, or digest of an artifact")->required();
  verb->add_option("--goal", flags->goal,
                   "Bounds and what is best: bytes<=22%, memory<=50%, speedup>=1.5x on CLASS, ppl<=+2%, "
                   "kl=min; shares "
                   "are of the input as handed in "
                   "(docs/goals.md)")
      ->required();
  verb->add_option("--data", flags->data, "NAME=PATH or NAME=DIGEST: calibration, and test to verify on")
      ->allow_extra_args(false);
  add_calibration_flags(*verb, *flags);
  verb->add_option("--recipe", flags->recipe,
                   "Stages that come first in every plan, and evaluations in place of the usual ones");
  verb->add_option("--propagate", flags->propagate, "compressed or dense: what plans calibrate through");
  verb->add_option("--plans", flags->plans, "Mixed plans that are verified in full, at most 5; default: 2");
  verb->add_option("--uniform", flags->uniform, "Uniform levels beside them; default: 3");
  verb->add_option("--seed", flags->seed, "Seed of the jobs")->check(whole_number());
  verb->add_option("--recipe-out", flags->recipe_out, "With --wait: a file for the pick's recipe");
  add_sweep_flags(*verb, flags->sweep);
  verb->callback([&context, flags] { compress(context, *flags); });

  auto* measure = add_verb(app, "sensitivity", "What each layer would lose at each of several levels",
                           "wring sensitivity smollm2/ --data calibration=train.txt "
                           "--levels 'gptq(bits=3) | gptq(bits=4)' --csv");
  const auto wanted = std::make_shared<SensitivityFlags>();
  measure->add_option("MODEL", wanted->model, "Folder, file, or digest of an artifact");
  measure->add_option("--data", wanted->data, "calibration=PATH or calibration=DIGEST")
      ->allow_extra_args(false);
  add_calibration_flags(*measure, *wanted);
  measure->add_option("--job", wanted->job, "Show what this job measured instead");
  measure->add_option("--threads", wanted->threads, "Threads; 0: the worker's");
  measure->add_option("--device", wanted->device, "cpu or cuda; default: cpu")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  measure->add_option("--class", wanted->worker_class,
                      "Only a worker of this class (wring-worker --class) measures it");
  measure->add_option("--project", wanted->project, "Whose share of the workers it takes; default: default");
  measure->add_flag("--csv", wanted->csv, "Comma-separated values, one line a layer and level");
  measure->callback([&context, wanted] { sensitivity(context, *wanted); });
}

}  // namespace wring
