// The verb submit: inputs uploaded, the job created, and followed to its end with --wait.
#include "client/cli/submit.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include "client/cli/transfers.h"
#include "common/ids.h"
#include "common/quantity.h"
#include "common/text.h"
#include "recipe/recipe_input.h"

namespace wring {
namespace {

struct Flags {
  std::string recipe, model, name, request_id, project, device = "cpu", worker_class, memory, max_runtime,
                                                        queued_timeout, total_timeout;
  std::vector<std::string> data;
  std::uint64_t seed = 0;
  std::uint32_t threads = 0, processes = 0, max_attempts = 0;
  std::int32_t priority = 0;
  RetentionFlags retention;
  bool wait = false, plan = false;
};

// The paths or digests by the names of the recipe's data inputs: all that it reads, and no others.
std::map<std::string, std::string> data_inputs(const Flags& flags, const v1::ValidateRecipeResponse& recipe) {
  std::map<std::string, std::string> data;
  const std::vector<std::string> known(recipe.data_names().begin(), recipe.data_names().end());
  for (const auto& text : flags.data) {
    const auto input = parse_data_input(text);
    const bool read = std::find(known.begin(), known.end(), input.first) != known.end();
    if (!read && is_usual_data(input.first)) {  // a script's arguments, for whatever recipe
      std::fprintf(stderr, "note: nothing in the recipe reads the data '%s'\n", input.first.c_str());
      continue;
    }
    check_data_name(input.first, known, "--data");
    add_data_input(data, input);
  }
  check_data_is_there(
      known, [&](const auto& name) { return data.contains(name); }, "data");
  return data;
}

// `validated`: what the server made of the recipe.
v1::JobSpec job_spec(CliContext& context, const Flags& flags, const std::string& recipe,
                     const v1::ValidateRecipeResponse& validated) {
  v1::JobSpec spec;
  const auto form = parse_json(validated.normal_form_json(), "the recipe's normal form");
  if (!flags.name.empty())
    spec.set_name(flags.name);
  else if (json_or<std::string>(form, "name", "").empty())  // else the server takes the recipe's
    spec.set_name(recipe_label(flags.recipe).substr(0, 200));
  spec.set_recipe(recipe);
  spec.set_seed(flags.seed);
  spec.mutable_resources()->set_device(flags.device);
  spec.mutable_resources()->set_worker_class(flags.worker_class);
  spec.mutable_resources()->set_processes(flags.processes);
  spec.mutable_resources()->set_threads(flags.threads);
  if (!flags.memory.empty())
    spec.mutable_resources()->set_memory_bytes(parse_bytes(flags.memory, "--memory"));
  if (!flags.max_runtime.empty())
    spec.set_max_runtime_seconds(parse_seconds(flags.max_runtime, "--max-runtime"));
  if (!flags.queued_timeout.empty())
    spec.set_queued_timeout_seconds(parse_seconds(flags.queued_timeout, "--queued-timeout"));
  if (!flags.total_timeout.empty())
    spec.set_total_timeout_seconds(parse_seconds(flags.total_timeout, "--total-timeout"));
  spec.mutable_retry()->set_max_attempts(flags.max_attempts);
  spec.set_priority(flags.priority);
  spec.set_project(flags.project);
  spec.set_plan_only(flags.plan);
  if (auto retention = retention_of(flags.retention)) *spec.mutable_retention() = *std::move(retention);
  const auto data = data_inputs(flags, validated);
  spec.set_model(input_digest(context, flags.model, "model"));
  for (const auto& [name, path] : data) (*spec.mutable_data())[name] = input_digest(context, path, "dataset");
  return spec;
}

void submit(CliContext& context, const Flags& flags) {
  const auto recipe = read_recipe(flags.recipe);
  const auto validated = context.client().validate(recipe);  // before anything large is sent
  submit_and_report(context, job_spec(context, flags, recipe, validated), flags.request_id,
                    flags.wait || flags.plan);
}

}  // namespace

void add_retention_flags(CLI::App& verb, RetentionFlags& flags) {
  auto* expire = verb.add_option("--expire-after", flags.expire_after,
                                 "Delete what it makes this long after it has succeeded: 12h, 30d");
  verb.add_flag("--pin", flags.pin, "Let nobody discard what it makes")->excludes(expire);
}

std::optional<v1::Retention> retention_of(const RetentionFlags& flags) {
  if (!flags.pin && flags.expire_after.empty()) return std::nullopt;
  v1::Retention retention;
  retention.set_pinned(flags.pin);
  if (!flags.pin) retention.set_expire_after_seconds(parse_seconds(flags.expire_after, "--expire-after"));
  return retention;
}

void submit_and_report(CliContext& context, const v1::JobSpec& spec, const std::string& request_id,
                       bool wait) {
  const auto job = context.client().submit(spec, request_id.empty() ? random_uuid() : request_id);
  if (wait) return print_ended_job(context, follow_job(context, job));
  if (context.json) return context.print_json(to_json(job));
  context.print("job " + job.id() + "  " + state_name(job.state()) + "\n  wring watch " + job.id() + "\n");
}

void add_submit_verbs(CLI::App& app, CliContext& context) {
  auto* verb = add_verb(
      app, "submit", "Send a recipe and its inputs to the server as a job",
      "wring submit 'gptq(bits=4, group_size=64)' --model smollm2.gguf --data calibration=train.txt --wait");
  const auto flags = std::make_shared<Flags>();
  verb->add_option("RECIPE", flags->recipe, "YAML file, or a recipe in one line")->required();
  verb->add_option("--model", flags->model, "Folder, file, or digest of an artifact")->required();
  verb->add_option("--data", flags->data, "NAME=PATH or NAME=DIGEST; once for each data input of the recipe")
      ->allow_extra_args(false);
  verb->add_option("--name", flags->name,
                   "Name for people; default: the recipe's, else its file's or the line");
  verb->add_option("--seed", flags->seed, "Seed of everything random")
      ->check(whole_number())
      ->capture_default_str();
  verb->add_option("--device", flags->device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  verb->add_option("--class", flags->worker_class,
                   "Only a worker of this class (wring-worker --class) runs it");
  verb->add_option(
      "--processes", flags->processes,
      "Processes that share calibration and training: 1, 2, 4 or 8; on cuda each takes a device");
  verb->add_option("--threads", flags->threads, "Threads of each process; 0: the worker's");
  verb->add_option("--memory", flags->memory, "Memory limit of the job: 4GB, 512MiB");
  verb->add_option("--max-runtime", flags->max_runtime, "Longest time of one attempt: 90s, 10m, 2h");
  verb->add_option("--queued-timeout", flags->queued_timeout,
                   "Longest wait for a worker, each time it is queued: 90s, 10m, 2h");
  verb->add_option("--total-timeout", flags->total_timeout,
                   "Longest time from here to the end, all attempts and waits: 90s, 10m, 2h");
  verb->add_option("--project", flags->project,
                   "Whose share of the workers it takes: a-z, 0-9, '.', '_', '-'; default: default");
  verb->add_option("--priority", flags->priority, "Higher goes first, -100 to 100")->capture_default_str();
  verb->add_option("--max-attempts", flags->max_attempts, "Attempts before it counts as failed; 0: 5");
  add_retention_flags(*verb, flags->retention);
  verb->add_option("--request-id", flags->request_id, "UUID; sending the same one again gives the same job");
  verb->add_flag("--wait", flags->wait, "Follow the job and print its report");
  verb->add_flag("--plan", flags->plan,
                 "Run nothing: have a worker say what time and memory each stage would take there");
  verb->callback([&context, flags] { submit(context, *flags); });
}

}  // namespace wring
