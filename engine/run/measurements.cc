// A suite is run, or its rows are found; both are held to what came before.
#include "engine/run/measurements.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/error.h"
#include "engine/eval/graph_suite.h"
#include "engine/model/tensor_file.h"
#include "engine/run/hardware.h"
#include "engine/run/own_score.h"
#include "engine/run/step_progress.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOutputs = "outputs.safetensors";  // beside an evaluation's rows

bool holds_gguf(const FileTree& files) {
  const auto paths = files.paths();
  return std::any_of(paths.begin(), paths.end(), [](const auto& path) { return path.ends_with(".gguf"); });
}

std::vector<EvaluationRow> read_rows(const FileTree& measured) {
  std::vector<EvaluationRow> rows;
  for (const auto& row : parse_json(measured.open("rows.json").read_all().text(), "rows.json"))
    rows.push_back(EvaluationRow::from_json(row));
  return rows;
}

// Whether an export is measured by it: times depend on the machine, a sample and what gathers statistics say
// nothing of files.
bool is_of_files(const EvaluationSpec& evaluation) {
  const auto& suite = Catalogue::embedded().suite(evaluation.suite, "evaluations");
  return !suite.keyed_by_hardware && suite.statistics.empty() && evaluation.suite != "sample";
}

bool is_score(const EvaluationRow& row) {
  return row.suite != "size" && row.suite != "export";
}

// The reference is not what was handed in, whose rows add_baselines() finds.
void forget_baselines(std::vector<EvaluationRow>& rows) {
  for (auto& row : rows) row.baseline_value = row.change_error = std::nullopt;
}

EvaluationRow bits_row(const Json& report) {
  EvaluationRow bits;
  bits.suite = "export";
  bits.metric = "bits_per_weight";
  bits.unit = "bits";
  bits.value = report.at("bits_per_weight").get<double>();
  bits.n = report.at("weights").get<std::uint64_t>();
  bits.details = report;
  return bits;
}

}  // namespace

StepOutcome Measurements::run(const Step& step, const std::optional<FileTree>& kept) {
  StepOutcome outcome;
  std::vector<EvaluationRow> rows;
  if (kept) {
    outcome.cached = true;
    rows = read_rows(*kept);
  } else {
    StepProgress progress(observer_, step.plan);
    std::vector<NamedTensor> outputs;
    rows = model_.is_graph() ? measure_graph(step, progress)
                             : measure(step, progress, is_baseline(step) ? &outputs : nullptr);
    if (step.plan.key) outcome.path = write(step, rows, outputs);
  }
  if (step.when == "before") before_[step.evaluation] = rows;
  if (is_baseline(step) && step.plan.key)
    keep(*step.evaluation, kept ? *kept : FileTree::on_disk(outcome.path));
  note(std::move(rows), step);
  return outcome;
}

// Whether it measures what later ones compare with.
bool Measurements::is_baseline(const Step& step) const {
  return step.when == "before" && !spec_.reference && !measures_alone(spec_.recipe);
}

void Measurements::keep(const EvaluationSpec& evaluation, const FileTree& files) {
  known_.insert_or_assign(&evaluation, Known{read_rows(files), files});
}

std::map<std::string, at::Tensor> Measurements::reference_outputs(const EvaluationSpec& evaluation) const {
  const auto known = known_.find(&evaluation);
  if (known == known_.end() || !known->second.files.has(kOutputs)) return {};
  const SafetensorsReader reader(known->second.files);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& name : reader.names()) tensors.emplace(name, read_tensor(reader, name));
  return tensors;
}

void Measurements::note(std::vector<EvaluationRow> rows, const Step& step) {
  for (const auto& row : rows)
    if (!std::isfinite(row.value) || !std::isfinite(row.standard_error.value_or(0)))
      throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE",
                  row.metric + " of " + row.suite + " is " + std::to_string(row.value) +
                      ": the model gives NaN or infinity on this data",
                  step.field, "Compress it less, or find the stage that breaks it: when: each.");
  for (auto& row : rows) row.when = step.when;
  if (step.evaluation && step.when != "before") add_baselines(rows, *step.evaluation);
  rows_.insert(rows_.end(), rows.begin(), rows.end());
  observer_.on_rows(rows);
}

std::vector<EvaluationRow> Measurements::measure(const Step& step, Progress& progress,
                                                 std::vector<NamedTensor>* outputs) {
  static const std::vector<EvaluationRow> kNone;
  const auto& evaluation = *step.evaluation;
  const bool compared = step.when != "before" || spec_.reference;
  const auto known = compared ? known_.find(&evaluation) : known_.end();
  const auto dense_outputs = compared ? reference_outputs(evaluation) : std::map<std::string, at::Tensor>();
  EvaluationInput input{model_.model(),
                        compared ? &model_.reference() : nullptr,
                        known == known_.end() ? kNone : known->second.rows,
                        dense_outputs,
                        outputs,
                        data_.tokenizer(),
                        model_.files(),
                        [this](const auto& name) -> const FileTree& { return data_files(name); },
                        spec_.seed,
                        hardware_name(spec_.device, threads_),
                        progress,
                        [&](const Method& method, const std::set<const Layer*>& targets) {
                          return run_(step, method, evaluation.params, targets);
                        }};
  const bool alone = measures_alone(spec_.recipe);
  const Json params = settled_params(evaluation, alone && holds_gguf(model_.files()));
  auto rows = find_suite(evaluation.suite)(Params(params, step.field + ".params"), input);
  stamp(rows);
  if (spec_.reference && !alone) forget_baselines(rows);
  return rows;
}

std::vector<EvaluationRow> Measurements::measure_graph(const Step& step, Progress& progress) const {
  const auto& evaluation = *step.evaluation;
  const auto data = [this](const auto& name) -> const FileTree& { return data_files(name); };
  auto rows =
      find_graph_suite(evaluation.suite)(Params(evaluation.params, step.field + ".params"),
                                         {model_.graph(), model_.files(), data, spec_.seed, progress});
  stamp(rows);
  return rows;
}

void Measurements::stamp(std::vector<EvaluationRow>& rows) const {
  for (auto& row : rows) {
    row.seed = spec_.seed;
    row.hardware = hardware_name(spec_.device, threads_);
  }
}

// An export measured as who serves it would measure it, beside what this job compares with.
JobSpec Measurements::spec_of_export(const FileTree& files, const Digest& artifact) const {
  JobSpec spec{.recipe = {}, .model = {files, artifact}};
  spec.reference = dense_input(spec_);
  spec.tokenizer = spec_.model.files;
  spec.seed = spec_.seed;
  spec.threads = threads_;
  spec.device = spec_.device;
  spec.work = spec_.work;
  return spec;
}

FreshEvaluations Measurements::score(const JobSpec& spec, Progress& progress) const {
  auto scored = evaluate_fresh(spec, progress);
  if (spec_.reference)
    for (auto& rows : scored.rows) forget_baselines(rows);
  return scored;
}

FreshEvaluations Measurements::score_by_recipe(JobSpec spec, Progress& progress) const {
  std::vector<const EvaluationSpec*> asked;
  for (const auto& evaluation : spec_.recipe.evaluations) {
    if (!is_of_files(evaluation)) continue;
    const auto known = known_.find(&evaluation);
    if (known != known_.end()) spec.measured.emplace(asked.size(), known->second.files);
    spec.recipe.evaluations.push_back(evaluation);
    asked.push_back(&evaluation);
  }
  if (asked.empty()) return {};
  for (const auto& name : spec.recipe.data_names()) spec.data.emplace(name, spec_.data.at(name));
  auto scored = score(spec, progress);
  for (std::size_t i = 0; i < asked.size(); ++i) add_baselines(scored.rows.at(i), *asked[i]);
  return scored;
}

FreshEvaluations Measurements::score_on_own_text(JobSpec spec, Progress& progress) const {
  const OwnScore own = own_score(model_.model(), spec_.work);
  spec.recipe.evaluations = {own.evaluation};
  spec.data.emplace(kOwnText, JobInput{own.text, {}});
  auto scored = score(spec, progress);
  for (auto& row : scored.rows.at(0)) row.details["data"] = kOwnText;
  return scored;
}

std::uint64_t Measurements::run_export(const Step& step, const fs::path& folder, const Digest& artifact,
                                       const Json& report) {
  std::vector<EvaluationRow> rows{bits_row(report)};
  rows.front().seed = spec_.seed;
  std::uint64_t peak = 0;
  const auto add = [&](const FreshEvaluations& scored) {
    for (const auto& some : scored.rows) rows.insert(rows.end(), some.begin(), some.end());
    peak = std::max(peak, scored.peak_bytes);
  };
  StepProgress progress(observer_, step.plan);
  const JobSpec spec = spec_of_export(FileTree::on_disk(folder), artifact);
  try {
    add(score_by_recipe(spec, progress));
  } catch (const Error& error) {  // its fields are of another recipe
    throw Error(error.code(), error.reason(), error.message(), step.field, error.hint());
  }
  if (std::none_of(rows.begin(), rows.end(), is_score)) try {
      add(score_on_own_text(spec, progress));
    } catch (const Error& error) {
      rows.front().details["not_scored"] = hindrance(error);
    }
  for (auto& row : rows) row.artifact = artifact.hex();
  note(std::move(rows), step);
  return peak;
}

// Rows, and outputs where the disk has room for them beside a model.
fs::path Measurements::write(const Step& step, const std::vector<EvaluationRow>& rows,
                             const std::vector<NamedTensor>& outputs) const {
  Json json = Json::array();
  for (const auto& row : rows) json.push_back(row.to_json());
  const fs::path folder = spec_.work / ("step-" + std::to_string(step.plan.index));
  fs::create_directories(folder);
  write_file_atomic(folder / "rows.json", json.dump(), spec_.durability);
  std::vector<TensorToWrite> tensors;
  std::uint64_t bytes = model_.body().stored_bytes();
  for (const auto& output : outputs) {
    tensors.push_back(to_write(output.suffix, output.tensor));
    bytes += output.tensor.nbytes();
  }
  if (!tensors.empty() && bytes < fs::space(folder).available)
    write_safetensors(folder, fs::path(kOutputs).stem(), tensors, {}, UINT64_MAX, spec_.durability);
  return folder;
}

// What the same evaluation gave before the first stage.
void Measurements::add_baselines(std::vector<EvaluationRow>& rows, const EvaluationSpec& evaluation) const {
  const auto before = before_.find(&evaluation);
  if (before == before_.end()) return;
  for (auto& row : rows)
    for (const auto& other : before->second)
      if (other.suite == row.suite && other.metric == row.metric) row.baseline_value = other.value;
  pair_by_window(rows, before->second);
}

}  // namespace wring
