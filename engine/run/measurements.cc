// A suite is run, or its rows are found; both are held to what came before.
#include "engine/run/measurements.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/error.h"
#include "engine/eval/graph_suite.h"
#include "engine/model/load.h"
#include "engine/model/tensor_file.h"
#include "engine/run/hardware.h"
#include "engine/run/step_progress.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOutputs = "outputs.safetensors";  // beside an evaluation's rows

bool holds_gguf(const FileTree& files) {
  const auto paths = files.paths();
  return std::any_of(paths.begin(), paths.end(), [](const auto& path) { return path.ends_with(".gguf"); });
}

}  // namespace

StepOutcome Measurements::run(const Step& step, const std::optional<FileTree>& kept) {
  StepOutcome outcome;
  std::vector<EvaluationRow> rows;
  if (kept) {
    outcome.cached = true;
    keep_outputs(step, *kept);
    for (const auto& row : parse_json(kept->open("rows.json").read_all().text(), "rows.json"))
      rows.push_back(EvaluationRow::from_json(row));
  } else {
    StepProgress progress(observer_, step.plan);
    const bool compared = step.when != "before" || spec_.reference;
    std::vector<NamedTensor> outputs;
    rows = model_.is_graph() ? measure_graph(step, progress)
                             : measure(*step.evaluation, step.field, compared,
                                       {model_.model(), model_.files(), measures_alone(spec_.recipe)},
                                       progress, is_baseline(step) ? &outputs : nullptr, &step);
    if (step.plan.key) {
      outcome.path = write(step, rows, outputs);
      keep_outputs(step, FileTree::on_disk(outcome.path));
    }
  }
  if (step.when == "before") before_[step.evaluation] = rows;
  note(std::move(rows), step);
  return outcome;
}

// Whether it measures what later ones compare with.
bool Measurements::is_baseline(const Step& step) const {
  return step.when == "before" && !spec_.reference && !spec_.recipe.stages.empty();
}

void Measurements::keep_outputs(const Step& step, const FileTree& measured) {
  if (is_baseline(step) && measured.has(kOutputs)) outputs_.insert_or_assign(step.evaluation, measured);
}

std::map<std::string, at::Tensor> Measurements::reference_outputs(const EvaluationSpec& evaluation) const {
  const auto kept = outputs_.find(&evaluation);
  if (kept == outputs_.end()) return {};
  const SafetensorsReader reader(kept->second);
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

std::vector<EvaluationRow> Measurements::measure(const EvaluationSpec& evaluation, const std::string& field,
                                                 bool compared, const Measured& measured, Progress& progress,
                                                 std::vector<NamedTensor>* outputs, const Step* step) {
  static const std::vector<EvaluationRow> kNone;
  Model* const reference = compared ? &model_.reference() : nullptr;
  const auto before = before_.find(&evaluation);
  const auto dense_outputs = compared ? reference_outputs(evaluation) : std::map<std::string, at::Tensor>();
  EvaluationInput input{measured.model,
                        reference,
                        compared && !spec_.reference && before != before_.end() ? before->second : kNone,
                        dense_outputs,
                        outputs,
                        data_.tokenizer(),
                        measured.files,
                        [this](const auto& name) -> const FileTree& { return data_files(name); },
                        spec_.seed,
                        hardware_name(spec_.device, threads_),
                        progress,
                        [&](const Method& method, const std::set<const Layer*>& targets) {
                          return run_(*step, method, evaluation.params, targets);
                        }};
  const Json params = settled_params(evaluation, measured.as_served && holds_gguf(measured.files));
  auto rows = find_suite(evaluation.suite)(Params(params, field + ".params"), input);
  stamp(rows);
  // The reference is not what was handed in, whose rows add_baselines() finds.
  if (spec_.reference && !measures_alone(spec_.recipe))
    for (auto& row : rows) row.baseline_value = row.change_error = std::nullopt;
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

void Measurements::run_export(const Step& step, const fs::path& folder, const std::string& artifact,
                              const Json& report) {
  EvaluationRow bits;
  bits.suite = "export";
  bits.metric = "bits_per_weight";
  bits.unit = "bits";
  bits.value = report.at("bits_per_weight").get<double>();
  bits.n = report.at("weights").get<std::uint64_t>();
  bits.seed = spec_.seed;
  bits.details = report;
  std::vector<EvaluationRow> rows{bits};
  const FileTree files = FileTree::on_disk(folder);
  const auto model = load_model(files, model_.device());
  StepProgress progress(observer_, step.plan);
  bool scored = false;
  const auto add = [&](const EvaluationSpec& evaluation) {
    const auto measured = measure_export(evaluation, {*model, files, true}, progress);
    rows.insert(rows.end(), measured.begin(), measured.end());
    scored = scored || evaluation.suite != "size";
  };
  for (const auto& evaluation : spec_.recipe.evaluations) {
    const auto& suite = Catalogue::embedded().suite(evaluation.suite, "evaluations");
    if (!suite.keyed_by_hardware && suite.statistics.empty() && evaluation.suite != "sample") add(evaluation);
  }
  if (!scored) {
    if (!own_score_) own_score_ = own_score(*model, spec_.work);
    try {
      add(own_score_->evaluation);
    } catch (const Error& error) {
      rows.front().details["not_scored"] = hindrance(error);
    }
  }
  for (auto& row : rows) row.artifact = artifact;
  note(std::move(rows), step);
}

std::vector<EvaluationRow> Measurements::measure_export(const EvaluationSpec& evaluation,
                                                        const Measured& exported, Progress& progress) {
  auto rows = measure(evaluation, "evaluations", true, exported, progress);
  add_baselines(rows, evaluation);
  if (own_score_ && &evaluation == &own_score_->evaluation)
    for (auto& row : rows) row.details["data"] = kOwnText;
  return rows;
}

const FileTree& Measurements::data_files(const std::string& name) const {
  return own_score_ && name == kOwnText ? own_score_->text : spec_.data.at(name).files;
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
