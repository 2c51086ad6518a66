// wring-engine: runs recipes, with a service (job) or without any (run, eval, generate).

#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "common/command_line.h"
#include "common/error.h"
#include "common/json.h"
#include "common/logger.h"
#include "engine/run/export.h"
#include "engine/run/failure.h"
#include "engine/run/hardware.h"
#include "engine/run/helpers.h"
#include "engine/run/local.h"
#include "engine/run/pipe.h"
#include "recipe/recipe_input.h"

namespace {

using namespace wring;

void add_common(CLI::App* command, LocalOptions& options) {
  command->add_option("--model", options.model, "Hugging Face folder, GGUF file or Wring artifact")
      ->required();
  command->add_option("--data", options.data,
                      "NAME=PATH of a text file, e.g. calibration=text.txt; repeatable");
  command->add_option("--reference", options.reference,
                      "Original model, where --model is compressed already: what evaluations compare with, "
                      "and what eora puts back");
  command->add_option("--seed", options.seed, "Seed of everything random")->capture_default_str();
  command
      ->add_option("--processes", options.processes,
                   "Processes that share calibration and training: 1, 2, 4 or 8; on cuda each takes a device")
      ->type_name("N");
  command->add_option("--threads", options.threads, "Threads of each process; 0: all cores")
      ->capture_default_str();
  command->add_option("--device", options.device, "cpu or cuda:N")->capture_default_str();
  command->add_flag("--json", options.json, "Print JSON");
  command->add_flag("-q,--quiet", options.quiet, "No progress bar");
}

void add_run(CLI::App& app, int& status) {
  auto* run = app.add_subcommand("run", "Run a recipe on a model");
  static LocalOptions options;
  run->add_option("recipe", options.recipe, "YAML file, or one line: 'gptq(bits=4, group_size=64)'")
      ->required();
  add_common(run, options);
  run->add_option("--out", options.out, "Folder for the result; must not exist");
  run->footer("Example:\n  wring-engine run 'rtn(bits=4)' --model model/ --out small/");
  run->callback([&status] { status = run_local(options); });

  auto* plan = app.add_subcommand("plan", "Show what a recipe would do; run nothing");
  static LocalOptions plan_options;
  plan->add_option("recipe", plan_options.recipe, "YAML file, or one line")->required();
  add_common(plan, plan_options);
  plan->footer("Example:\n  wring-engine plan recipe.yaml --model model/");
  plan->callback([&status] { status = plan_local(plan_options); });
}

void add_eval(CLI::App& app, int& status) {
  auto* eval = app.add_subcommand("eval", "Measure a model");
  static LocalOptions options;
  static std::string suite = "perplexity";
  static std::vector<std::string> named, parameters;  // by flags of their own, by --param
  eval->add_option("model", options.model, "Hugging Face folder, GGUF or ONNX file, or Wring artifact")
      ->required();
  eval->add_option("--suite", suite,
                   "perplexity, kv-perplexity, multiple-choice, in-context, similarity, accuracy, size, "
                   "latency, memory, level-times or sample")
      ->capture_default_str();
  eval->add_option("--data", options.data, "PATH of the text or labelled examples (or NAME=PATH)");
  eval->add_option("--reference", options.reference,
                   "Dense model: adds KL divergence and agreement to it (perplexity), or similarity");
  const auto add_parameter = [&](const std::string& name, const char* help) {
    eval->add_option_function<std::string>(
        "--" + name, [name](const std::string& value) { named.push_back(name + "=" + value); }, help);
  };
  add_parameter("window", "Tokens of a window");
  add_parameter("windows", "How many windows; 0: the whole text");
  add_parameter("stride", "Step between windows");
  eval->add_option("--param", parameters, "NAME=VALUE, another parameter of the suite; repeatable");
  eval->add_option("--threads", options.threads, "Threads; 0: all cores")->capture_default_str();
  eval->add_option("--seed", options.seed, "Seed of everything random");
  eval->add_option("--device", options.device, "cpu or cuda:N")->capture_default_str();
  eval->add_flag("--json", options.json, "Print JSON");
  eval->add_flag("-q,--quiet", options.quiet, "No progress bar");
  eval->footer(
      "Example:\n  wring-engine eval model/ --suite perplexity --data test.txt --window 1024 --windows 32 "
      "--json");
  eval->callback([&status] {
    for (auto& entry : options.data)
      if (entry.find('=') == std::string::npos) entry = "test=" + entry;
    named.insert(named.end(), parameters.begin(), parameters.end());
    options.recipe = evaluation_recipe(suite, named);
    status = run_local(options);
  });
}

void add_generate(CLI::App& app, int& status) {
  auto* generate = app.add_subcommand("generate", "Write text with a model");
  static GenerateCommand command;
  generate->add_option("model", command.model, "Hugging Face folder, GGUF file or Wring artifact")
      ->required();
  generate->add_option("--prompt", command.prompt, "What the model goes on from")->required();
  generate->add_option("--tokens", command.tokens, "At most so many")->capture_default_str();
  generate->add_option("--temperature", command.temperature, "0: greedy; at most 10")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str();
  generate->add_option("--top-p", command.top_p, "Nucleus of sampling")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  generate->add_option("--seed", command.seed, "Seed of sampling")->capture_default_str();
  generate->add_option("--threads", command.threads, "Threads; 0: all cores")->capture_default_str();
  generate->add_option("--device", command.device, "cpu or cuda:N")->capture_default_str();
  generate->add_flag("--json", command.json, "Print JSON");
  generate->add_flag("-q,--quiet", command.quiet, "Without the prompt");
  generate->footer("Example:\n  wring-engine generate model.gguf --prompt 'Once upon a time' --tokens 40");
  generate->callback([&status] { status = generate_local(command); });
}

void add_export(CLI::App& app, int& status) {
  auto* command =
      app.add_subcommand("export", "Write a model in another tool's format, and check what was written");
  static ExportCommand options;
  command->add_option("model", options.model, "Wring artifact (or any model)")->required();
  command->add_option("--to", options.to, "huggingface, compressed-tensors, ...; 'FORMAT(PARAMETER=VALUE)'")
      ->required();
  command->add_option("--out", options.out, "Folder for the result; must not exist")->required();
  command->add_option("--data", options.text,
                      "Text on which the export is scored beside the model; without it one of Wring's own");
  command->add_flag("--no-score", options.no_score, "On no text");
  command->add_option("--windows", options.windows, "Windows of 1024 tokens of it")->capture_default_str();
  command->add_option("--claims", options.claims,
                      "JSON file to keep, with which verify checks the export again");
  command->add_option("--threads", options.threads, "Threads; 0: all cores")->capture_default_str();
  command->add_flag("--json", options.json, "Print JSON");
  command->footer(
      "Example:\n  wring-engine export small/ --to compressed-tensors --out small-ct/ --data test.txt");
  command->callback([&status] { status = export_model(options); });

  auto* imatrix = app.add_subcommand("imatrix", "Write which columns matter on a text, for exports to GGUF");
  static ImatrixCommand importance;
  imatrix->add_option("model", importance.model, "Hugging Face folder, GGUF file or Wring artifact")
      ->required();
  imatrix->add_option("--data", importance.data, "UTF-8 text like the one that the model will see")
      ->required();
  imatrix->add_option("--out", importance.out, "File, as llama-imatrix writes it")->required();
  imatrix->add_option("--chunks", importance.chunks, "How many pieces of the text")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  imatrix->add_option("--length", importance.length, "Tokens of a piece")
      ->check(CLI::Range(2, 131072))
      ->capture_default_str();
  imatrix->add_option("--threads", importance.threads, "Threads; 0: all cores")->capture_default_str();
  imatrix->add_option("--device", importance.device, "cpu or cuda:N")->capture_default_str();
  imatrix->add_flag("-q,--quiet", importance.quiet, "No progress bar");
  imatrix->footer(
      "Example:\n  wring-engine imatrix model/ --data calibration.txt --out imatrix.gguf\n"
      "  wring-engine export model/ --to 'gguf(type=Q4_K_M, imatrix=imatrix.gguf)' --out model-gguf/");
  imatrix->callback([&status] { status = imatrix_local(importance); });

  auto* verify =
      app.add_subcommand("verify", "Read an export back and compare it with its exporter's claims");
  static VerifyCommand verified;
  verify->add_option("path", verified.path, "Export")->required();
  verify->add_option("--claims", verified.claims, "JSON of claims")->required();
  verify->add_option("--threads", verified.threads, "Threads; 0: all cores")->capture_default_str();
  verify->add_flag("--json", verified.json, "Print JSON, errors too");
  verify->callback([&status] { status = verify_local(verified); });
}

void add_tools(CLI::App& app, int& status) {
  static std::string model, ids, out, text, device = "cpu";
  static int threads = 0;
  auto* logits = app.add_subcommand(
      "logits", "Write a model's logits for token ids (for comparison with other implementations)");
  logits->add_option("model", model, "Model")->required();
  logits->add_option("--ids", ids, "JSON {input_ids, attention_mask}")->required();
  logits->add_option("--out", out, "safetensors file")->required();
  logits->add_option("--threads", threads, "Threads; 0: all cores");
  logits->add_option("--device", device, "cpu or cuda:N")->capture_default_str();
  logits->callback([&status] { status = write_logits(model, ids, out, threads, device); });
  auto* tokenize = app.add_subcommand("tokenize", "Print the token ids of a text file");
  tokenize->add_option("model", model, "Model or folder with tokenizer.json")->required();
  tokenize->add_option("text", text, "UTF-8 text file")->required();
  tokenize->callback([&status] { status = print_tokens(model, text); });
  app.add_subcommand("devices", "Print what this machine computes with")->callback([&status] {
    status = print_devices();
  });
  app.add_subcommand("job", "Run the one job that an agent sends over descriptors 3 and 4 (docs/pipe.md)")
      ->callback([&status] { status = run_piped_job(3, 4); });
  static int rank = 0, size = 0;
  auto* join = app.add_subcommand("join", "Help the process of a job that started this one")->group("");
  join->add_option("rank", rank)->required();
  join->add_option("size", size)->required();
  join->callback([&status] { status = run_helper(rank, size); });
}

// Whether the verb that ran has --json, and it was given.
bool json_wanted(const CLI::App& app) {
  for (const auto* verb : app.get_subcommands())
    if (const auto* flag = verb->get_option_no_throw("--json"); flag && flag->count() > 0) return true;
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);  // who writes into a pipe is told that nobody reads it
  fix_heap_thresholds();
  // libtorch then asks for pages of 2 MiB for tensors from that size on: half as many page faults.
  ::setenv("THP_MEM_ALLOC_ENABLE", "1", /*overwrite=*/0);
  init_logging("wring-engine");
  CLI::App app("Wring's compression engine", "wring-engine");
  app.require_subcommand(1);
  app.set_version_flag("--version", WRING_VERSION);
  int status = 0;
  add_run(app, status);
  add_eval(app, status);
  add_generate(app, status);
  add_export(app, status);
  add_tools(app, status);
  try {
    return parse_command_line(app, {argv + 1, argv + argc}) ? status : 0;
  } catch (...) {
    const Error error = current_engine_error();
    std::fputs(describe(error).c_str(), stderr);
    if (json_wanted(app)) std::puts(Json{{"error", error.to_json()}}.dump(2).c_str());
    return exit_status(error.code());
  }
}
