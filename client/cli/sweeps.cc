// The verb sweep: submit, run (sweep_run.cc), list, show, trials, front, best, pause, resume, stop, cancel,
// extend, delete.
#include <memory>

#include "client/cli/context.h"
#include "client/cli/sweep_report.h"
#include "client/cli/sweep_run.h"
#include "client/cli/sweep_submit.h"
#include "common/quantity.h"
#include "common/text.h"
#include "recipe/spec.h"
#include "recipe/sweep.h"

namespace wring {
namespace {

struct FrontFlags {
  std::string id;
  std::vector<std::string> metrics, at_most, at_least;
  std::string recipe_out;
  bool csv = false;
};

// "kl_mean", or as a CSV's head has it: "perplexity[1]/kl_mean".
template <typename Message>
void set_metric(Message& message, const std::string& name) {
  const auto slash = name.rfind('/');
  if (slash != std::string::npos) message.set_suite(name.substr(0, slash));
  message.set_metric(name.substr(slash == std::string::npos ? 0 : slash + 1));
}

v1::Objective objective_of(const std::string& text) {
  const auto colon = text.find(':');
  v1::Objective objective;
  set_metric(objective, text.substr(0, colon));
  auto goal = colon == std::string::npos ? "" : text.substr(colon + 1);
  for (const auto* suite : Catalogue::embedded().suites())
    if (const auto it = suite->metrics.find(objective.metric()); goal.empty() && it != suite->metrics.end())
      goal = it->second == "higher" ? "max" : "min";
  if (goal != "min" && goal != "max" && !goal.empty())
    throw Error(ErrorCode::kInvalidArgument, "BAD_GOAL", "'" + goal + "' is no goal", "--metric",
                "NAME:min or NAME:max");
  objective.set_maximise(goal == "max");
  return objective;
}

v1::Constraint constraint_of(const std::string& text, const char* flag, bool most) {
  const auto equals = text.find('=');
  char* end = nullptr;
  const std::string number = equals == std::string::npos ? "" : text.substr(equals + 1);
  const double value = std::strtod(number.c_str(), &end);
  const auto share = share_of_input(number);
  if (!share && (number.empty() || *end != '\0'))
    throw Error(
        ErrorCode::kInvalidArgument, "BAD_CONSTRAINT",
        "'" + text + "' is not NAME=NUMBER or NAME=PERCENT%, the percentage above 0 and without a sign",
        flag);
  v1::Constraint constraint;
  set_metric(constraint, text.substr(0, equals));
  constraint.set_of_input(share.has_value());
  const double bound = share.value_or(value);
  most ? constraint.set_maximum(bound) : constraint.set_minimum(bound);
  return constraint;
}

v1::QueryFrontResponse query(CliContext& context, const FrontFlags& flags) {
  v1::QueryFrontRequest request;
  request.set_id(flags.id);
  for (const auto& text : flags.metrics) *request.add_objectives() = objective_of(text);
  for (const auto& text : flags.at_most) *request.add_constraints() = constraint_of(text, "--at-most", true);
  for (const auto& text : flags.at_least)
    *request.add_constraints() = constraint_of(text, "--at-least", false);
  return context.client().front(request);
}

void print_trials(CliContext& context, const std::vector<v1::Trial>& trials, const v1::Sweep& sweep,
                  bool csv) {
  if (context.json) {
    Json list = Json::array();
    for (const auto& trial : trials) list.push_back(to_json(trial, sweep));
    return context.print_json(Json{{"trials", list}});
  }
  context.print(csv ? trials_csv(trials, sweep) : trials_table(trials, sweep));
}

// Where nothing holds the constraints, says so and how near it came.
bool print_infeasible(CliContext& context, const v1::QueryFrontResponse& front, const v1::Sweep& sweep) {
  if (front.any_feasible()) return false;
  context.status = exit_status(ErrorCode::kNotFound);
  if (context.json) {
    context.print_json(Json{{"trials", Json::array()},
                            {"nearest", front.has_nearest() ? to_json(front.nearest(), sweep) : Json()}});
    return true;
  }
  context.print("no trial has succeeded and holds all constraints\n");
  if (front.has_nearest()) context.print("nearest:\n" + trials_table({front.nearest()}, sweep));
  return true;
}

void show_front(CliContext& context, const FrontFlags& flags, bool best) {
  auto sweep = context.client().sweep(flags.id);
  const auto front = query(context, flags);
  *sweep.mutable_objectives() = front.objectives();
  if (print_infeasible(context, front, sweep)) return;
  std::vector<v1::Trial> trials(front.trials().begin(), front.trials().end());
  if (best) trials.resize(1);
  if (!flags.recipe_out.empty()) write_recipe(trial_recipe(context, trials.front()), flags.recipe_out);
  print_trials(context, trials, sweep, flags.csv);
}

void submit(CliContext& context, const SweepFlags& flags, const std::string& file) {
  const auto sweep = submit_sweep(context, flags, read_sweep(flags, file));
  if (flags.validate) return print_sweep(context, sweep);
  if (!flags.wait) {
    print_sweep(context, sweep);
    if (!context.json) context.print("  wring sweep show " + sweep.id() + "\n");
    return;
  }
  if (sweep.state() == v1::SWEEP_STATE_FAILED) context.status = exit_status(ErrorCode::kUnknown);
  if (sweep.state() == v1::SWEEP_STATE_CANCELLED) context.status = exit_status(ErrorCode::kCancelled);
  if (context.json) return context.print_json(to_json(sweep));
  context.print(describe_sweep(sweep) + "\n" + trials_table(context.client().trials(sweep.id()), sweep));
}

void list(CliContext& context, const std::string& project, int limit) {
  v1::ListSweepsRequest request;
  request.set_project(project);
  request.set_page_size(limit);
  const auto page = context.client().sweeps(request);
  if (context.json) {
    Json json = Json::array();
    for (const auto& sweep : page.sweeps()) json.push_back(to_json(sweep));
    return context.print_json(Json{{"sweeps", json}});
  }
  if (page.sweeps().empty()) return context.print("no sweeps\n");
  std::vector<std::vector<std::string>> rows{
      {"SWEEP", "PROJECT", "NAME", "STRATEGY", "STATE", "TRIALS", "SUCCEEDED"}};
  for (const auto& sweep : page.sweeps())
    rows.push_back({sweep.id(), sweep.spec().project(), sweep.spec().name(), sweep.strategy(),
                    state_name(sweep.state()),
                    std::to_string(sweep.trials()) +
                        (sweep.expected_trials() > 0 ? "/" + std::to_string(sweep.expected_trials()) : ""),
                    std::to_string(sweep.succeeded())});
  context.print(table(rows));
}

void show(CliContext& context, const std::string& id) {
  const auto sweep = context.client().sweep(id);
  if (context.json) return context.print_json(to_json(sweep));
  context.print(describe_sweep(sweep));
}

void wait(CliContext& context, const std::string& id) {
  const auto sweep = follow_sweep(context, context.client().sweep(id));
  if (context.json) return context.print_json(to_json(sweep));
  context.print(describe_sweep(sweep));
}

// A verb that takes one sweep.
template <typename Action>
void add_one(CLI::App& app, const std::string& name, const std::string& help, Action action) {
  auto* verb = add_verb(app, name, help, "wring sweep " + name + " k3f9");
  const auto id = std::make_shared<std::string>();
  verb->add_option("SWEEP", *id, "Id of the sweep, or a prefix of at least 3 characters that is unique")
      ->required();
  verb->callback([id, action] { action(*id); });
}

void add_submit(CLI::App& app, CliContext& context) {
  auto* verb = add_verb(app, "submit", "Send a sweep; its trials are made by the server, one job each",
                        "wring sweep submit examples/sweeps/minilm-rtn-grid.yaml --wait");
  const auto flags = std::make_shared<SweepFlags>();
  const auto file = std::make_shared<std::string>();
  verb->add_option("SWEEP", *file, "YAML file (docs/sweeps.md); paths in it are seen from here")
      ->required()
      ->check(CLI::ExistingFile);
  add_sweep_flags(*verb, *flags);
  verb->callback([&context, flags, file] { submit(context, *flags, *file); });
}

void add_front(CLI::App& app, CliContext& context, bool best) {
  auto* verb = best ? add_verb(app, "best", "The best trial by the first objective, under the constraints",
                               "wring sweep best k3f9 --metric kl_mean --at-most artifact_bytes=50%")
                    : add_verb(app, "front", "The trials that no other one is better than in every objective",
                               "wring sweep front k3f9 --metric kl_mean --metric artifact_bytes --csv");
  const auto flags = std::make_shared<FrontFlags>();
  verb->add_option("SWEEP", flags->id, "Id of the sweep, or a unique prefix")->required();
  verb->add_option("--metric", flags->metrics, "NAME, NAME:min or NAME:max; default: the sweep's objectives")
      ->allow_extra_args(false);
  verb->add_option("--at-most", flags->at_most,
                   "NAME=VALUE or NAME=PERCENT% of the input's: trials above are left out")
      ->allow_extra_args(false);
  verb->add_option("--at-least", flags->at_least, "The same for trials below")->allow_extra_args(false);
  verb->add_flag("--csv", flags->csv, "Comma-separated values");
  if (best) verb->add_option("--recipe-out", flags->recipe_out, "A file for its recipe");
  verb->callback([&context, flags, best] { show_front(context, *flags, best); });
}

void add_extend(CLI::App& app, CliContext& context) {
  auto* verb = add_verb(app, "extend", "Raise a sweep's bounds; one that reached them or was stopped goes on",
                        "wring sweep extend k3f9 --trials 16");
  struct Flags {
    std::string id, time, bytes;
    std::uint64_t trials = 0;
  };
  const auto flags = std::make_shared<Flags>();
  verb->add_option("SWEEP", flags->id, "Id of the sweep, or a unique prefix")->required();
  verb->add_option("--trials", flags->trials, "How many more")->check(whole_number());
  verb->add_option("--time", flags->time,
                   "How much longer: 90s, 10m, 2h; from now on where its time has passed");
  verb->add_option("--bytes", flags->bytes, "How many more bytes of results: 4GB");
  verb->callback([&context, flags] {
    v1::ExtendSweepRequest request;
    request.set_id(flags->id);
    request.mutable_more()->set_trials(flags->trials);
    if (!flags->time.empty()) request.mutable_more()->set_seconds(parse_seconds(flags->time, "--time"));
    if (!flags->bytes.empty()) request.mutable_more()->set_bytes(parse_bytes(flags->bytes, "--bytes"));
    print_sweep(context, context.client().extend_sweep(request));
  });
}

void add_list(CLI::App& app, CliContext& context) {
  auto* verb = add_verb(app, "list", "List sweeps, newest first", "wring sweep list --limit 5");
  struct Flags {
    std::string project;
    int limit = 20;
  };
  const auto flags = std::make_shared<Flags>();
  verb->add_option("--project", flags->project, "Only sweeps of this project");
  verb->add_option("--limit", flags->limit, "How many")->check(CLI::Range(1, 1000))->capture_default_str();
  verb->callback([&context, flags] { list(context, flags->project, flags->limit); });
}

void add_trials(CLI::App& app, CliContext& context) {
  auto* verb = add_verb(app, "trials", "List a sweep's trials, by number", "wring sweep trials k3f9 --csv");
  struct Flags {
    std::string id;
    bool csv = false;
  };
  const auto flags = std::make_shared<Flags>();
  verb->add_option("SWEEP", flags->id, "Id of the sweep, or a unique prefix")->required();
  verb->add_flag("--csv", flags->csv, "Comma-separated values, with every metric");
  verb->callback([&context, flags] {
    const auto sweep = context.client().sweep(flags->id);
    print_trials(context, context.client().trials(sweep.id()), sweep, flags->csv);
  });
}

}  // namespace

void add_sweep_verbs(CLI::App& app, CliContext& context) {
  auto* sweep = add_verb(app, "sweep", "Try many variants of a recipe and keep the best",
                         "wring sweep submit examples/sweeps/minilm-rtn-grid.yaml --wait");
  sweep->require_subcommand(1);
  add_submit(*sweep, context);
  add_sweep_run(*sweep, context);
  add_list(*sweep, context);
  add_one(*sweep, "show", "A sweep's state, goals and counts",
          [&context](const auto& id) { show(context, id); });
  add_one(*sweep, "wait", "Follow a sweep to its end", [&context](const auto& id) { wait(context, id); });
  add_trials(*sweep, context);
  add_front(*sweep, context, false);
  add_front(*sweep, context, true);
  add_one(*sweep, "pause", "Make no trials until it is resumed; those made already go on",
          [&context](const auto& id) { print_sweep(context, context.client().pause_sweep(id)); });
  add_one(*sweep, "resume", "End a pause",
          [&context](const auto& id) { print_sweep(context, context.client().resume_sweep(id)); });
  add_one(*sweep, "stop", "Make no more trials; it ends when those made already have",
          [&context](const auto& id) { print_sweep(context, context.client().stop_sweep(id)); });
  add_one(*sweep, "cancel", "Make no more trials, and cancel those that have not ended",
          [&context](const auto& id) { print_sweep(context, context.client().cancel_sweep(id)); });
  add_extend(*sweep, context);
  add_one(*sweep, "delete", "Remove an ended sweep; its jobs and artifacts stay", [&context](const auto& id) {
    const auto found = context.client().sweep(id);
    context.client().remove_sweep(found.id());
    if (context.json) return context.print_json(Json{{"deleted", found.id()}});
    context.print("deleted sweep " + found.id() + "\n");
  });
}

}  // namespace wring
