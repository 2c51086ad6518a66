// The engine's commands for people and scripts.
#include "engine/run/local.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <iostream>

#include "common/error.h"
#include "common/files.h"
#include "common/progress_bar.h"
#include "common/text.h"
#include "engine/calibrate/imatrix.h"
#include "engine/model/generate.h"
#include "engine/model/load.h"
#include "engine/model/tensor_file.h"
#include "engine/run/hardware.h"
#include "engine/run/job.h"
#include "engine/text/corpus.h"
#include "recipe/processes.h"
#include "recipe/recipe_input.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

std::atomic<bool> interrupted = false;

// Shows a local job on the terminal and keeps what its report needs. Nothing is cached.
class TerminalObserver final : public JobObserver {
 public:
  explicit TerminalObserver(bool quiet) : bar_(ProgressBarOptions::standard_error(quiet)) {}

  void on_plan(const std::vector<StepPlan>& steps) override {
    std::vector<std::string> names;
    for (const auto& step : steps) names.push_back(step.name);
    bar_.plan(names);
  }
  std::optional<FileTree> look_up(const StepPlan&) override { return std::nullopt; }
  void on_start(const StepPlan& step) override { bar_.start(step.index); }
  void on_progress(const StepPlan& step, std::uint64_t done, std::uint64_t total, const std::string& unit,
                   const std::string& metric, double value) override {
    bar_.update(step.index, {done, total, unit, metric, value, 0});
  }
  void on_done(const StepPlan& step, const StepOutcome& outcome) override {
    bar_.finish(step.index, BarState::kDone, outcome.seconds, outcome.peak_bytes);
    if (step.kind != "stage") return;
    stages_.push_back({{"index", step.index},
                       {"name", step.name},
                       {"key", step.key->hex()},
                       {"seconds", outcome.seconds},
                       {"peak_bytes", outcome.peak_bytes},
                       {"report", outcome.report}});
    if (step.forecast) {
      stages_.back()["forecast_seconds"] = step.forecast->seconds;
      stages_.back()["forecast_peak_bytes"] = step.forecast->peak_bytes;
    }
  }
  void on_rows(const std::vector<EvaluationRow>&) override {}
  void check_cancelled() override {
    if (interrupted) throw Error(ErrorCode::kCancelled, "CANCELLED", "interrupted");
  }

  void close() { bar_.close(); }
  const Json& stages() const { return stages_; }

 private:
  ProgressBar bar_;
  Json stages_ = Json::array();
};

JobSpec make_spec(const LocalOptions& options) {
  JobSpec spec{.recipe = parse_recipe(read_recipe(options.recipe)),
               .model = input_on_disk(options.model, "model")};
  for (const auto& entry : options.data) {
    const auto equals = entry.find('=');
    if (equals == std::string::npos || equals == 0)
      throw Error(ErrorCode::kInvalidArgument, "BAD_DATA", "'" + entry + "' is not NAME=PATH", "data",
                  "For instance --data calibration=text.txt.");
    const std::string name = entry.substr(0, equals);
    if (!spec.data.emplace(name, input_on_disk(entry.substr(equals + 1), "dataset")).second)
      throw Error(ErrorCode::kInvalidArgument, "BAD_DATA", "'" + name + "' is given twice", "data",
                  "A folder of *.txt files is one input of many texts.");
  }
  if (!options.reference.empty()) spec.reference = input_on_disk(options.reference, "model");
  spec.seed = options.seed;
  spec.processes = checked_processes(options.processes, "processes");
  spec.threads = options.threads;
  spec.device = options.device;
  return spec;
}

void print_report(const JobResult& result, const LocalOptions& options) {
  std::vector<std::vector<std::string>> rows{{"suite", "metric", "when", "value", "stderr", "unit", "n"}};
  for (const auto& row : result.rows) {
    if (!row.text.empty()) continue;
    rows.push_back({row.suite, row.metric, row.when, format_number(row.value, row.unit == "bytes" ? 0 : 4),
                    row.standard_error ? format_number(*row.standard_error, 4) : "", row.unit,
                    std::to_string(row.n)});
  }
  if (rows.size() > 1) std::cout << table(rows);
  for (const auto& row : result.rows)
    if (!row.text.empty()) std::cout << "sample " << row.when << ": " << row.text << "\n";
  if (result.artifact)
    std::cout << "artifact  sha256:" << result.artifact->hex() << "  " << options.out.string() << "\n";
}

// A bar of one step.
class ShownProgress final : public Progress {
 public:
  ShownProgress(const std::string& name, bool quiet) : bar_(ProgressBarOptions::standard_error(quiet)) {
    bar_.plan({name});
    bar_.start(0);
  }
  void report(std::uint64_t done, std::uint64_t total, const std::string& unit, const std::string& metric,
              double value) override {
    if (interrupted) throw Error(ErrorCode::kCancelled, "CANCELLED", "interrupted");
    bar_.update(0, {done, total, unit, metric, value, 0});
    if (done == total) bar_.finish(0, BarState::kDone, bar_.steps()[0].seconds);
  }

 private:
  ProgressBar bar_;
};

// Beside the result: small/ has its exports in small-exports/.
fs::path exports_folder(const fs::path& out) {
  if (out.empty())
    throw Error(ErrorCode::kInvalidArgument, "MISSING_OUT",
                "the recipe exports a model, and there is nowhere to put it", "out", "Add --out DIR.");
  const fs::path plain = without_slash(fs::absolute(out));
  return plain.parent_path() / (plain.filename().string() + "-exports");
}

// Out of the scratch folder. A format that is there already gets a number.
Json move_export(const ExportedArtifact& exported, const fs::path& folder) {
  fs::create_directories(folder);
  fs::path to = folder / exported.format;
  for (int i = 2; fs::exists(to); ++i) to = folder / (exported.format + "-" + std::to_string(i));
  fs::rename(exported.path, to);
  return {{"format", exported.format}, {"path", to.string()}, {"digest", exported.artifact.hex()}};
}

// Of a job whose stages are done. Tells a person of an export that failed.
int exit_status_of(const JobResult& result) {
  if (!result.export_error) return 0;
  std::fputs(describe(*result.export_error).c_str(), stderr);
  return exit_status(result.export_error->code());
}

}  // namespace

int run_local(const LocalOptions& options) {
  ::signal(SIGINT, [](int) { interrupted = true; });
  ::signal(SIGTERM, [](int) { interrupted = true; });
  JobSpec spec = make_spec(options);
  if (!spec.recipe.stages.empty() && options.out.empty())
    throw Error(ErrorCode::kInvalidArgument, "MISSING_OUT",
                "the recipe makes a model, and there is nowhere to put it", "out", "Add --out DIR.");
  if (!options.out.empty() && fs::exists(options.out))
    throw Error(ErrorCode::kAlreadyExists, "OUT_EXISTS", options.out.string() + " is there already", "out",
                "Name a folder that does not exist yet.");
  const fs::path exports = spec.recipe.exports.empty() ? fs::path() : exports_folder(options.out);
  if (fs::exists(exports))
    throw Error(ErrorCode::kAlreadyExists, "OUT_EXISTS", exports.string() + " is there already", "out",
                "Exports go there: name another --out, or move it away.");
  if (!options.out.empty()) {
    spec.out = without_slash(fs::absolute(options.out));
    fs::create_directories(spec.out.parent_path());
  }
  const TempDir work(options.out.empty() ? fs::temp_directory_path() : spec.out.parent_path());
  spec.work = work.path();
  TerminalObserver observer(options.quiet);
  int failed_step = -1;
  const JobResult result = run_job(spec, observer, failed_step);
  observer.close();
  Json exported = Json::array();
  for (const auto& one : result.exports) exported.push_back(move_export(one, exports));
  if (!options.json) {
    print_report(result, options);
    for (const auto& one : exported)
      std::cout << one.at("format").get<std::string>() << "  sha256:" << one.at("digest").get<std::string>()
                << "  " << one.at("path").get<std::string>() << "\n";
    return exit_status_of(result);
  }
  Json evaluations = Json::array();
  for (const auto& row : result.rows) evaluations.push_back(row.to_json());
  Json json{{"artifact_digest", result.artifact ? result.artifact->hex() : ""},
            {"stages", observer.stages()},
            {"evaluations", evaluations},
            {"exports", exported}};
  if (result.export_error) json["error"] = result.export_error->to_json();
  std::cout << json.dump(2) << "\n";
  return exit_status_of(result);
}

int generate_local(const GenerateCommand& command) {
  set_threads(command.threads);
  const FileTree files = FileTree::on_disk(command.model);
  const auto model = load_model(files, parse_device(command.device));
  const auto tokenizer = load_tokenizer(files);
  const DecodedLayers decoded = ready_for_decoding(*model);
  GenerateOptions options{command.tokens, command.temperature, command.top_p, command.seed,
                          tokenizer->end_of_text()};
  std::vector<std::int32_t> ids;
  std::string shown;
  const auto show = [&](std::int32_t id) {
    ids.push_back(id);
    if (command.json) return;
    if (ids.size() == 1 && !command.quiet) std::cout << command.prompt;
    const std::string text = tokenizer->decode(ids);
    if (text.ends_with("\xEF\xBF\xBD")) return;  // a character that is not whole yet
    std::cout << text.substr(shown.size()) << std::flush;
    shown = text;
  };
  (void)generate(*model, tokenizer->encode(command.prompt), options, show);
  if (command.json)
    std::cout << Json{{"prompt", command.prompt}, {"text", tokenizer->decode(ids)}, {"tokens", ids}}.dump(
        2, ' ', false, Json::error_handler_t::replace);
  std::cout << "\n";
  return 0;
}

int imatrix_local(const ImatrixCommand& command) {
  set_threads(command.threads);
  const FileTree files = FileTree::on_disk(command.model);
  const auto model = load_model(files, parse_device(command.device));
  if (model->kind() != "decoder-lm")
    throw Error(ErrorCode::kInvalidArgument, "WRONG_MODEL_KIND", "an imatrix is made of a decoder", "model");
  const auto tokenizer = load_tokenizer(files);
  const auto ids = tokenize_corpus(FileTree::on_disk(command.data), "data", *tokenizer,
                                   static_cast<std::size_t>(command.length));
  const auto chunks = std::min(command.chunks, static_cast<std::int64_t>(ids.size()) / command.length);
  const auto all = at::tensor(
      at::ArrayRef<std::int32_t>(ids.data(), static_cast<std::size_t>(chunks * command.length)), at::kInt);
  ShownProgress progress("imatrix", command.quiet);
  Imatrix imatrix = collect_imatrix(*model, all.to(at::kLong).reshape({chunks, command.length}), progress);
  imatrix.datasets = {command.data.filename().string()};
  write_imatrix(command.out, imatrix);
  return 0;
}

int write_logits(const fs::path& model_path, const fs::path& ids_path, const fs::path& out, int threads,
                 const std::string& device) {
  set_threads(threads);
  const auto model = load_model(FileTree::on_disk(model_path), parse_device(device));
  const Json json = parse_json(read_file(ids_path), ids_path.string());
  const auto matrix = [&](const char* key) {
    const auto rows = json_at<std::vector<std::vector<std::int64_t>>>(json, key, ids_path.string());
    std::vector<at::Tensor> tensors;
    for (const auto& row : rows) tensors.push_back(at::tensor(at::ArrayRef<std::int64_t>(row), at::kLong));
    return at::stack(tensors);
  };
  ForwardContext context;
  if (json.contains("attention_mask"))
    context.attention_mask = matrix("attention_mask").to(model->device(), at::kBool);
  const DecodedLayers decoded(model->layers(), at::kFloat);
  const auto logits = model->forward(matrix("input_ids").to(model->device()), context);
  fs::create_directories(fs::absolute(out).parent_path());
  write_safetensors(fs::absolute(out).parent_path(), out.stem().string(), {to_write("logits", logits)});
  return 0;
}

int print_tokens(const fs::path& model, const fs::path& text) {
  const auto tokenizer = load_tokenizer(FileTree::on_disk(model));
  std::cout << Json(tokenizer->encode(read_file(text, 1ull << 32))).dump() << "\n";
  return 0;
}

int plan_local(const LocalOptions& options) {
  JobSpec spec = make_spec(options);
  set_threads(spec.threads);
  spec.share_statistics = true;
  const TempDir work;
  spec.work = work.path();
  TerminalObserver observer(true);
  const auto forecasts = forecast_job(spec, observer);
  Json stages = Json::array();
  std::vector<std::vector<std::string>> rows{
      {"stage", "method", "layers", "weights", "bytes now", "bytes then", "time", "peak memory"}};
  for (std::size_t i = 0; i < forecasts.size(); ++i) {
    const auto& f = forecasts[i];
    stages.push_back(f.to_json());
    stages.back()["method"] = f.name;
    rows.push_back({std::to_string(i), f.name, std::to_string(f.layers), std::to_string(f.weights),
                    human_bytes(f.bytes_before), human_bytes(f.bytes_after),
                    f.seconds > 0 ? "about " + human_duration(f.seconds) : "-",
                    f.peak_bytes > 0 ? "about " + human_bytes(f.peak_bytes) : "-"});
  }
  if (options.json)
    std::cout << Json{{"stages", stages}, {"recipe_digest", spec.recipe.digest().hex()}}.dump(2) << "\n";
  else
    std::cout << table(rows);
  return 0;
}

}  // namespace wring
