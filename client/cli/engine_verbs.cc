// The verbs that wring-engine does on this machine, without a service: run --local, plan, generate.
#include <memory>

#include "client/cli/context.h"
#include "client/cli/programs.h"
#include "client/report.h"
#include "common/error.h"
#include "common/quantity.h"
#include "recipe/recipe_input.h"

namespace wring {
namespace {

struct Flags {
  std::string recipe, model, reference, out, device, prompt;
  std::vector<std::string> data;
  std::uint64_t seed = 0;
  std::uint32_t threads = 0, processes = 0, tokens = 0;
  double temperature = 0;
  bool local = false;
};

// The engine with --json, its bar on our standard error, its result as our report. Its errors are its own to
// print.
void run_with_report(CliContext& context, const Flags& flags, std::vector<std::string> arguments) {
  arguments.push_back("--json");
  const auto [ended, output] = capture_engine(std::move(arguments));
  context.status = ended.code;
  if (ended.code != 0) return;
  auto json = parse_json(output, "the engine's result");
  json["out"] = flags.out;
  json["name"] = recipe_label(flags.recipe);
  json["seed"] = flags.seed;
  context.print(job_report(json));
}

void run(CliContext& context, const Flags& flags) {
  if (!flags.local)
    throw Error(ErrorCode::kInvalidArgument, "NOT_LOCAL", "wring run works on this machine", "--local",
                "Add --local, or send the job to the service: wring submit RECIPE --model ... --wait");
  auto arguments = arguments_after(context, "run", {"--local"});
  arguments.insert(arguments.begin(), "run");
  context.json ? exec_engine(arguments) : run_with_report(context, flags, arguments);
}

void pass_on(const CliContext& context, const std::string& verb) {
  auto arguments = arguments_after(context, verb, {});
  arguments.insert(arguments.begin(), verb);
  exec_engine(arguments);
}

}  // namespace

void add_engine_verbs(CLI::App& app, CliContext& context) {
  const auto flags = std::make_shared<Flags>();
  auto* run_verb = add_engine_verb(app, context, "run", "Run a recipe on this machine, without a service",
                                   "wring run --local 'rtn(bits=4)' --model smollm2.gguf --out compressed/");
  run_verb->add_flag("--local", flags->local, "By wring-engine beside this program");
  run_verb->add_option("RECIPE", flags->recipe, "YAML file, or a recipe in one line")->required();
  run_verb->add_option("--model", flags->model, "Folder or file")->required();
  run_verb->add_option("--data", flags->data, "NAME=PATH; once for each data input of the recipe")
      ->allow_extra_args(false);
  run_verb->add_option("--reference", flags->reference,
                       "Original model, where --model is compressed already");
  run_verb->add_option("--out", flags->out, "Folder for the result")->required();
  run_verb->add_option("--seed", flags->seed, "Seed of everything random")->check(whole_number());
  run_verb->add_option(
      "--processes", flags->processes,
      "Processes that share calibration and training: 1, 2, 4 or 8; on cuda each takes a device");
  run_verb->add_option("--threads", flags->threads, "Threads of each process; 0: all cores");
  run_verb->add_option("--device", flags->device, "cpu or cuda:N");
  run_verb->callback([&context, flags] { run(context, *flags); });

  auto* plan = add_engine_verb(
      app, context, "plan",
      "Show how many layers a recipe would touch, and what time and memory each stage would take here",
      "wring plan recipe.yaml --model smollm2.gguf");
  plan->add_option("RECIPE", flags->recipe, "YAML file, or a recipe in one line")->required();
  plan->add_option("--model", flags->model, "Folder or file")->required();
  plan->callback([&context] { pass_on(context, "plan"); });

  auto* imatrix = add_engine_verb(app, context, "imatrix",
                                  "Write which columns of a model matter on a text, for exports to GGUF",
                                  "wring imatrix model/ --data calibration.txt --out imatrix.gguf");
  imatrix->add_option("MODEL", flags->model, "Folder or file of the model")->required();
  imatrix->add_option("--data", flags->data, "Text like the one that the model will see")->required();
  imatrix->add_option("--out", flags->out, "File, as llama-imatrix writes it")->required();
  imatrix->callback([&context] { pass_on(context, "imatrix"); });

  auto* generate =
      add_engine_verb(app, context, "generate", "Let a model write on this machine",
                      "wring generate compressed/ --prompt 'The state of the Union is' --tokens 40");
  generate->add_option("ARTIFACT", flags->model, "Folder or file of the model")->required();
  generate->add_option("--prompt", flags->prompt, "What it goes on from")->required();
  generate->add_option("--tokens", flags->tokens, "How many tokens to write");
  generate->add_option("--temperature", flags->temperature, "0: greedy");
  generate->add_option("--seed", flags->seed, "Seed of sampling");
  generate->add_option("--threads", flags->threads, "Threads; 0: all");
  generate->callback([&context] { pass_on(context, "generate"); });
}

}  // namespace wring
