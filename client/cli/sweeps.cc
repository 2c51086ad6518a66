// The verb sweep: submit, run (sweep_run.cc), list, show, trials, front, best, pause, resume, stop, cancel,
// extend, delete.
#include <chrono>
#include <memory>
#include <thread>

#include "client/cli/context.h"
#include "client/cli/interrupt.h"
#include "client/cli/sweep_report.h"
#include "client/cli/sweep_run.h"
#include "client/cli/sweep_submit.h"
#include "client/cli/transfers.h"
#include "common/clock.h"
#include "common/files.h"
#include "common/ids.h"
#include "common/quantity.h"
#include "common/text.h"
#include "recipe/recipe_input.h"
#include "recipe/spec.h"
#include "recipe/yaml.h"

namespace wring {
namespace {

using namespace std::chrono_literals;

constexpr double kPatienceSeconds = 300;  // how long the server may be away

void print_sweep(CliContext& context, const v1::Sweep& sweep) {
  if (context.json) return context.print_json(to_json(sweep));
  context.print("sweep " + sweep.id() + "  " + state_name(sweep.state()) + "\n");
}

// The text of a recipe that the sweep names by its file; empty where it stands in the sweep itself.
std::string recipe_of(const std::string& text) {
  const auto json = parse_yaml(text, "sweep").value;
  if (!json.is_object() || !json.contains("recipe") || !json["recipe"].is_string()) return "";
  return read_recipe(json["recipe"].get<std::string>());
}

v1::SweepSpec sweep_spec(const SweepFlags& flags) {
  v1::SweepSpec spec;
  spec.set_sweep(read_file(flags.sweep, 1u << 20));
  spec.set_recipe(recipe_of(spec.sweep()));
  spec.set_name(flags.name);
  spec.set_project(flags.project);
  spec.mutable_resources()->set_device(flags.device);
  spec.mutable_resources()->set_threads(flags.threads);
  if (!flags.memory.empty())
    spec.mutable_resources()->set_memory_bytes(parse_bytes(flags.memory, "--memory"));
  if (!flags.max_runtime.empty())
    spec.set_max_runtime_seconds(parse_seconds(flags.max_runtime, "--max-runtime"));
  spec.mutable_retry()->set_max_attempts(flags.max_attempts);
  spec.set_priority(flags.priority);
  return spec;
}

std::uint64_t ended(const v1::Sweep& sweep) {
  return sweep.succeeded() + sweep.failed() + sweep.cancelled();
}

// Until the sweep has ended, also over restarts of the server.
v1::Sweep follow_sweep(CliContext& context, v1::Sweep sweep) {
  const InterruptScope interrupt;
  ProgressBar bar(context.bar_options());
  bar.title("sweep " + sweep.id() + (sweep.spec().name().empty() ? "" : "  " + sweep.spec().name()));
  bar.plan({"trials"});
  bar.start(0);
  Stopwatch watch, away;
  while (!is_terminal(sweep.state())) {
    bar.update(0, {ended(sweep), std::max(sweep.expected_trials(), sweep.trials()), "trials", "running",
                   static_cast<double>(sweep.running()), 0});
    std::this_thread::sleep_for(300ms);
    if (interrupt.seen())
      throw Error(
          ErrorCode::kCancelled, "INTERRUPTED", "no longer watching; sweep " + sweep.id() + " goes on", "",
          "wring sweep show " + sweep.id() + " looks at it, wring sweep cancel " + sweep.id() + " ends it.");
    try {
      sweep = context.client().sweep(sweep.id());
      away = Stopwatch();
    } catch (const Error& e) {
      if (e.code() != ErrorCode::kUnavailable || away.seconds() > kPatienceSeconds) throw;
    }
  }
  const bool good = sweep.state() == v1::SWEEP_STATE_SUCCEEDED || sweep.state() == v1::SWEEP_STATE_STOPPED;
  bar.update(0, {ended(sweep), ended(sweep), "trials", "", 0, 0});
  bar.finish(0, good ? StepState::kDone : StepState::kFailed, watch.seconds());
  bar.close();
  return sweep;
}

struct FrontFlags {
  std::string id;
  std::vector<std::string> metrics, at_most, at_least;
  bool csv = false;
};

v1::Objective objective_of(const std::string& text) {
  const auto colon = text.find(':');
  v1::Objective objective;
  objective.set_metric(text.substr(0, colon));
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
  const std::string_view rest = end;
  if (number.empty() || end == number.c_str() || (!rest.empty() && rest != "%"))
    throw Error(ErrorCode::kInvalidArgument, "BAD_CONSTRAINT",
                "'" + text + "' is not NAME=NUMBER or NAME=PERCENT%", flag);
  v1::Constraint constraint;
  constraint.set_metric(text.substr(0, equals));
  constraint.set_of_input(!rest.empty());
  const double bound = rest.empty() ? value : value / 100;
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
  print_trials(context, trials, sweep, flags.csv);
}

v1::SubmitSweepRequest request_of(const SweepFlags& flags) {
  v1::SubmitSweepRequest request;
  request.set_request_id(flags.request_id.empty() ? random_uuid() : flags.request_id);
  *request.mutable_spec() = sweep_spec(flags);
  return request;
}

void submit(CliContext& context, const SweepFlags& flags) {
  if (flags.validate) {
    auto request = request_of(flags);
    request.set_validate_only(true);
    return print_sweep(context, context.client().submit_sweep(request));
  }
  auto sweep = submit_sweep(context, flags);
  if (!flags.wait) {
    print_sweep(context, sweep);
    if (!context.json) context.print("  wring sweep show " + sweep.id() + "\n");
    return;
  }
  sweep = follow_sweep(context, sweep);
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
  verb->add_option("SWEEP", flags->sweep, "YAML file (docs/sweeps.md); paths in it are seen from here")
      ->required()
      ->check(CLI::ExistingFile);
  verb->add_option("--name", flags->name, "Name for people; default: the sweep's own");
  verb->add_option("--project", flags->project, "Whose share of the workers it takes; default: default");
  verb->add_option("--device", flags->device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  verb->add_option("--threads", flags->threads, "Threads of a trial; 0: the worker's");
  verb->add_option("--memory", flags->memory, "Memory limit of a trial: 4GB, 512MiB");
  verb->add_option("--max-runtime", flags->max_runtime,
                   "Longest time of one attempt of a trial: 90s, 10m, 2h");
  verb->add_option("--max-attempts", flags->max_attempts, "Attempts before a trial counts as failed; 0: 5");
  verb->add_option("--priority", flags->priority, "Of its trials; higher goes first, -100 to 100")
      ->capture_default_str();
  verb->add_option("--request-id", flags->request_id,
                   "UUID; sending the same one again gives the same sweep");
  verb->add_flag("--validate", flags->validate, "Only check it; nothing is uploaded or kept");
  verb->add_flag("--wait", flags->wait, "Follow the sweep and print its trials");
  verb->callback([&context, flags] { submit(context, *flags); });
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
  verb->add_option("--time", flags->time, "How much longer: 90s, 10m, 2h");
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

v1::Sweep submit_sweep(CliContext& context, const SweepFlags& flags) {
  auto request = request_of(flags);
  request.set_validate_only(true);  // before anything large is sent
  const auto checked = context.client().submit_sweep(request);
  auto& inputs = *request.mutable_spec()->mutable_inputs();
  for (const auto& text : checked.models()) inputs[text] = input_digest(context, text, "model");
  for (const auto& text : checked.datasets()) inputs[text] = input_digest(context, text, "dataset");
  request.set_validate_only(false);
  return context.client().submit_sweep(request);
}

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
