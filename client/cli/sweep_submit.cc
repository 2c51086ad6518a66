// From flags to a sweep in the server, and to its end.
#include "client/cli/sweep_submit.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "client/cli/interrupt.h"
#include "client/cli/transfers.h"
#include "common/clock.h"
#include "common/files.h"
#include "common/ids.h"
#include "common/quantity.h"
#include "recipe/processes.h"
#include "recipe/recipe_input.h"
#include "recipe/yaml.h"

namespace wring {
namespace {

using namespace std::chrono_literals;

constexpr double kPatienceSeconds = 300;  // how long the server may be away

std::uint64_t ended(const v1::Sweep& sweep) {
  return sweep.succeeded() + sweep.failed() + sweep.cancelled();
}

// The text of a recipe that the sweep names by its file; empty where it stands in the sweep itself.
std::string recipe_of(const std::string& text) {
  const auto json = parse_yaml(text, "sweep").value;
  if (!json.is_object() || !json.contains("recipe") || !json["recipe"].is_string()) return "";
  return read_recipe(json["recipe"].get<std::string>());
}

}  // namespace

void add_trial_flags(CLI::App& verb, SweepFlags& flags) {
  verb.add_option("--device", flags.device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  verb.add_option("--processes", flags.processes,
                  "Processes of a trial that share calibration and training: 1, 2, 4 or 8");
  verb.add_option("--threads", flags.threads, "Threads of each process of a trial; 0: the worker's");
  verb.add_option("--memory", flags.memory, "Memory limit of a trial: 4GB, 512MiB");
  verb.add_option("--max-runtime", flags.max_runtime, "Longest time of one attempt of a trial: 90s, 10m, 2h");
  verb.add_option("--max-attempts", flags.max_attempts, "Attempts before a trial counts as failed; 0: 5")
      ->check(CLI::Range(0, 1000));
}

void add_sweep_flags(CLI::App& verb, SweepFlags& flags) {
  verb.add_option("--name", flags.name, "Name for people; default: the sweep's own");
  verb.add_option("--project", flags.project, "Whose share of the workers it takes; default: default");
  verb.add_option("--class", flags.worker_class,
                  "Only workers of this class (wring-worker --class) run trials");
  add_trial_flags(verb, flags);
  verb.add_option("--priority", flags.priority, "Of its trials; higher goes first, -100 to 100")
      ->check(CLI::Range(-100, 100))
      ->capture_default_str();
  add_retention_flags(verb, flags.retention);
  verb.add_option("--request-id", flags.request_id, "UUID; sending the same one again gives the same sweep");
  verb.add_flag("--validate", flags.validate, "Only check it; nothing is uploaded or kept");
  verb.add_flag("--wait", flags.wait, "Follow the sweep and print its trials");
}

v1::SweepSpec sweep_spec(const SweepFlags& flags, const std::string& sweep, const std::string& recipe) {
  checked_processes(flags.processes, "--processes");
  v1::SweepSpec spec;
  spec.set_sweep(sweep);
  spec.set_recipe(recipe);
  spec.set_name(flags.name);
  spec.set_project(flags.project);
  spec.mutable_resources()->set_device(flags.device);
  spec.mutable_resources()->set_worker_class(flags.worker_class);
  spec.mutable_resources()->set_processes(flags.processes);
  spec.mutable_resources()->set_threads(flags.threads);
  if (!flags.memory.empty())
    spec.mutable_resources()->set_memory_bytes(parse_bytes(flags.memory, "--memory"));
  if (!flags.max_runtime.empty())
    spec.set_max_runtime_seconds(parse_seconds(flags.max_runtime, "--max-runtime"));
  spec.mutable_retry()->set_max_attempts(flags.max_attempts);
  spec.set_priority(flags.priority);
  if (auto retention = retention_of(flags.retention)) *spec.mutable_retention() = *std::move(retention);
  return spec;
}

v1::SweepSpec read_sweep(const SweepFlags& flags, const std::string& file) {
  const auto sweep = read_file(file, 1u << 20);
  return sweep_spec(flags, sweep, recipe_of(sweep));
}

v1::Sweep submit_sweep(CliContext& context, const SweepFlags& flags, const v1::SweepSpec& spec) {
  v1::SubmitSweepRequest request;
  request.set_request_id(flags.request_id.empty() ? random_uuid() : flags.request_id);
  *request.mutable_spec() = spec;
  request.set_validate_only(true);  // before anything large is sent
  const auto checked = context.client().submit_sweep(request);
  for (const auto& text : checked.models()) check_input(context.client(), text, "model");
  for (const auto& text : checked.datasets()) check_input(context.client(), text, "data");
  if (flags.validate) return checked;
  auto& inputs = *request.mutable_spec()->mutable_inputs();
  for (const auto& text : checked.models()) inputs[text] = input_digest(context, text, "model");
  for (const auto& text : checked.datasets()) inputs[text] = input_digest(context, text, "dataset");
  request.set_validate_only(false);
  auto sweep = context.client().submit_sweep(request);
  return flags.wait ? follow_sweep(context, std::move(sweep)) : sweep;
}

void print_sweep(CliContext& context, const v1::Sweep& sweep) {
  if (context.json) return context.print_json(to_json(sweep));
  if (sweep.id().empty()) {  // was only checked
    const auto trials = sweep.expected_trials();
    return context.print("the sweep is valid" +
                         (trials ? ": " + std::to_string(trials) + " trials at most" : "") + "\n");
  }
  context.print("sweep " + sweep.id() + "  " + state_name(sweep.state()) + "\n");
}

Json trial_recipe(CliContext& context, const v1::Trial& trial) {
  return parse_json(context.client().get(trial.job_id()).spec().recipe(), "recipe");
}

void write_recipe(const Json& recipe, const std::string& file) {
  write_file_atomic(file, recipe.dump(2) + "\n");
}

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
  bar.finish(0, good ? BarState::kDone : BarState::kFailed, watch.seconds());
  bar.close();
  return sweep;
}

}  // namespace wring
