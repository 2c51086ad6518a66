// Running a job: plan the steps, look each up, else run it; write the result where nobody sees it half-done.
#include "engine/run/job.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <thread>
#include <tuple>
#include <utility>

#include "common/clock.h"
#include "common/error.h"
#include "common/text.h"
#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/stored_statistics.h"
#include "engine/eval/graph_suite.h"
#include "engine/export/unread_tensors.h"
#include "engine/math/matmul.h"
#include "engine/methods/graph_method.h"
#include "engine/model/load.h"
#include "engine/model/tensor_file.h"
#include "engine/run/body.h"
#include "engine/run/checked_export.h"
#include "engine/run/failure.h"
#include "engine/run/graph_forecast.h"
#include "engine/run/hardware.h"
#include "engine/run/helpers.h"
#include "engine/run/job_data.h"
#include "engine/run/room.h"
#include "engine/run/snapshot.h"
#include "engine/run/steps.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOutputs = "outputs.safetensors";  // beside an evaluation's rows

class StepProgress final : public Progress {
 public:
  StepProgress(JobObserver& observer, const StepPlan& plan) : observer_(observer), plan_(plan) {}
  void report(std::uint64_t done, std::uint64_t total, const std::string& unit, const std::string& metric,
              double value) override {
    observer_.check_cancelled();
    observer_.on_progress(plan_, done, total, unit, metric, value);
  }

 private:
  JobObserver& observer_;
  const StepPlan& plan_;
};

// Of each process while all compute; what the first one does alone has those of all.
int threads_apart(const JobSpec& spec) {
  if (spec.threads > 0) return spec.threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / spec.processes);
}

class Run {
 public:
  Run(const JobSpec& spec, JobObserver& observer, int& failed_step)
      : spec_(spec),
        observer_(observer),
        failed_step_(failed_step),
        data_(spec),
        device_(parse_device(spec.device)),
        apart_(threads_apart(spec)),
        threads_(set_threads(spec.threads * spec.processes)) {}

  ~Run() {
    std::error_code ignored;
    if (!half_.empty()) fs::remove_all(half_, ignored);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  std::vector<StageForecast> forecast() {
    load();
    std::vector<StageForecast> forecasts;
    Room room(spec_, *body_);
    for (std::size_t i = 0; i < spec_.recipe.stages.size(); ++i) {
      const auto& stage = spec_.recipe.stages[i];
      const auto statistics =
          spec_.share_statistics ? statistics_of(stage.method, stage.params) : std::nullopt;
      if (statistics)
        forecasts.push_back(forecast_statistics(*statistics, stage.params, stage_field(i), room));
      forecasts.push_back(forecast_stage(stage, stage_field(i), room, statistics.has_value()));
    }
    for (const auto& exported : spec_.recipe.exports) forecasts.push_back(room.add_export(exported));
    return forecasts;
  }

  JobResult run() {
    failed_step_ = -1;
    data_.check_names();
    load();
    body_->check_finite();
    if (!body_->is_graph()) data_.check_texts();
    let_go();
    steps_ = plan_steps(spec_);
    find_stages();
    forecast_steps();
    announce();
    if (spec_.plan_only) return {};
    for (const Step& step : steps_) {
      failed_step_ = static_cast<int>(step.plan.index);
      observer_.check_cancelled();
      observer_.on_start(step.plan);
      if (step.stage || step.statistics) let_go();
      reset_peak_resident_bytes();
      const Stopwatch watch;
      std::optional<StepOutcome> outcome = step.statistics ? run_statistics(step)
                                           : step.stage    ? run_stage(step)
                                           : step.exported ? try_export(step)
                                                           : run_evaluation(step);
      if (!outcome) return finish();
      outcome->seconds = watch.seconds();
      outcome->peak_bytes = peak_resident_bytes();
      observer_.on_done(step.plan, *outcome);
    }
    failed_step_ = static_cast<int>(steps_.size()) - 1;
    return finish();
  }

 private:
  void load() {
    files_ = spec_.model.files;
    body_ = Body::load(files_, device_);
    check_recipe(spec_, *body_, files_);
  }

  // Of what was read before: pages of the models, free memory.
  void let_go() {
    reference_.reset();
    read_again();
    release_free_memory();
  }

  // What was written is from here on the model.
  void read_again() {
    body_.reset();
    body_ = Body::load(files_, device_);
  }

  // Mapped, and decoded layer by layer as any model.
  void load_reference() {
    if (!reference_) reference_ = load_model(dense_input(spec_).files, device_);
  }

  void announce() {
    std::vector<StepPlan> plans;
    for (const auto& step : steps_) plans.push_back(step.plan);
    observer_.on_plan(plans);
  }

  // Looks for stages from the last one back to one that is at hand: those before it are not needed, but for
  // an evaluation between them that is not at hand.
  void find_stages() {
    bool wanted = true;  // by what comes after
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
      if (step->stage) {
        needed_[step->plan.index] = wanted;
        wanted = wanted && !kept(*step);
      } else if (step->evaluation && !wanted && step->when != "before") {
        wanted = !step->plan.key || !kept(*step);
      }
    }
  }

  // The output that was kept under the step's key. One that was found stays: what comes before it may not be
  // there.
  std::optional<FileTree> kept(const Step& step) {
    auto& found = found_[step.plan.index];
    if (!found) found = observer_.look_up(step.plan);
    return found;
  }

  bool is_needed(const Step& stage) const { return needed_.at(stage.plan.index); }
  // Whether the step does without its statistics.
  bool is_at_hand(const Step& step) { return (step.stage && !is_needed(step)) || kept(step); }

  // What each stage that is not at hand will take, and its statistics; refuses a job that this machine has no
  // room for.
  void forecast_steps() {
    std::optional<Room> room;
    for (auto& step : steps_) {
      if (step.exported) {
        if (!room) room.emplace(room_for_exports());
        step.plan.forecast = room->add_export(*step.exported);
      }
      if (!step.stage && !step.statistics) continue;
      step.plan.at_hand =
          is_at_hand(step.statistics ? fed_by(step) : step) || (step.statistics && kept(step));
      if (step.plan.at_hand) continue;
      if (body_->is_graph() && !spec_.plan_only && !trains(Params(step.stage->params, step.field)))
        continue;  // it would be run twice
      if (!room) room.emplace(spec_, *body_);
      if (step.statistics)
        step.plan.forecast = forecast_statistics(*step.statistics, fed_by(step).params(), step.field, *room);
      else
        step.plan.forecast = forecast_stage(*step.stage, step.field, *room, shares(step));
    }
    if (room) room->check();
  }

  // Where all stages are at hand: exports are made of the last one's output.
  Room room_for_exports() {
    const Step* last = last_stage(steps_);
    if (const auto output = last ? kept(*last) : std::nullopt) return {spec_, Body::load(*output, device_)};
    return {spec_, *body_};
  }

  // The step that reads the statistics.
  const Step& fed_by(const Step& statistics) const { return steps_[statistics.plan.index + 1]; }
  // Whether a step before the stage gathers its statistics.
  bool shares(const Step& stage) const {
    return stage.plan.index > 0 && steps_[stage.plan.index - 1].statistics.has_value();
  }

  StageForecast forecast_stage(const StageSpec& stage, const std::string& field, Room& room, bool gathered) {
    if (body_->is_graph()) return forecast_graph_stage(stage, field, room);
    const auto chosen = targets_of(stage, field, model());
    const Params params(stage.params, field + ".params");
    const auto method = make_method(stage.method, params);
    std::vector<std::string> names;
    for (const Layer* layer : chosen) names.push_back(layer->name());
    const auto found = estimate(*method, chosen, forecast_calibration(*method, params, field), gathered);
    let_go();
    return room.add_stage(stage.method, names, found);
  }

  static bool trains(const Params& params) { return params.has("steps"); }

  // Of the graph that was handed in, whatever earlier stages cut out of it.
  StageForecast forecast_graph_stage(const StageSpec& stage, const std::string& field, Room& room) {
    const Params params(stage.params, field + ".params");
    const auto method = make_graph_method(stage.method, params);
    if (trains(params)) (void)data_.batches(body_->graph(), params, Normalisation::from(params));
    NoProgress quiet;
    Snapshot none;
    const GraphEstimate estimate = estimate_graph_stage(*method, graph_stage(params, quiet, none));
    read_again();  // it was trained
    return room.add_graph_stage(stage.method, body_->graph(), estimate);
  }

  StageForecast forecast_statistics(const StatisticsSpec& statistics, const Json& values,
                                    const std::string& field, Room& room) {
    const Params params(values, field + ".params");
    const auto which = statistics_named(statistics);
    const auto method = gather_statistics(which);
    const auto found =
        estimate(*method, statistics_targets(model()), forecast_calibration(*method, params, field), false);
    const auto bytes = statistics_bytes(model(), which);
    let_go();
    return room.add_statistics(found, bytes);
  }

  StageEstimate estimate(const Method& method, const std::set<const Layer*>& targets,
                         const Calibration& calibration, bool gathered) {
    const int processes = can_split(method) ? spec_.processes : 1;
    if (processes > 1) set_threads(apart_);
    const auto found = estimate_stage(model(), method, targets, calibration, gathered, processes);
    set_threads(threads_);
    return found;
  }

  static std::set<Statistic> statistics_named(const StatisticsSpec& statistics) {
    std::set<Statistic> which;
    for (const auto& name : statistics.which) which.insert(statistic_named(name));
    return which;
  }

  // Of tokens only the shape counts, where they are not at hand.
  Calibration forecast_calibration(const Method& method, const Params& params, const std::string& field) {
    Calibration calibration = calibration_of(method, params);
    if (method.reads_data())
      std::tie(calibration.ids, calibration.mask) = data_.tokens_or_blank(model(), params, field);
    return calibration;
  }

  Model& model() { return body_->model(); }  // as the steps so far left it

  static StepOutcome not_needed() {
    StepOutcome outcome;
    outcome.cached = true;
    outcome.report["needed"] = false;
    return outcome;
  }

  StepOutcome run_stage(const Step& step) {
    if (!is_needed(step)) return not_needed();
    StepOutcome outcome;
    if (const auto output = kept(step)) {
      outcome.cached = true;
      files_ = *output;
      lineage_ = json_at<Json>(parse_json(files_.open("wring.json").read_all().text(), "wring.json"),
                               "lineage", "wring.json");
    } else {
      const auto unread = body_->is_graph() ? std::vector<std::string>() : unread_tensors(model(), files_);
      outcome.report = body_->is_graph() ? transform_graph(step) : compress(step);
      if (!unread.empty()) outcome.report["not_read"] = unread;
      release_free_memory();
      outcome.path = spec_.work / ("stage-" + std::to_string(step.plan.index));
      lineage_.push_back(lineage_entry(step));
      body_->save(spec_.model.files, with_lineage_of_input(), outcome.path, spec_.durability);
      files_ = FileTree::on_disk(outcome.path);
    }
    stored_.reset();
    read_again();  // mapped before the agent may move the folder
    if (last_stage(steps_) == &step) link_result();
    return outcome;
  }

  // For the step that comes next, unless that is at hand.
  StepOutcome run_statistics(const Step& step) {
    const Step& reader = fed_by(step);
    if (is_at_hand(reader)) return not_needed();
    StepOutcome outcome;
    const auto which = statistics_named(*step.statistics);
    if (const auto output = kept(step)) {
      outcome.cached = true;
      keep_statistics(*output, which);
      return outcome;
    }
    const fs::path folder = spec_.work / ("step-" + std::to_string(step.plan.index));
    outcome.report =
        run_method(step, *gather_statistics(which, folder), reader.params(), statistics_targets(model()));
    release_free_memory();
    if (!outcome.report.at("kept").get<bool>()) return outcome;  // its reader gathers its own
    outcome.report["bytes"] = statistics_bytes(model(), which);
    outcome.path = folder;
    keep_statistics(FileTree::on_disk(folder), which);
    return outcome;
  }

  void keep_statistics(FileTree files, const std::set<Statistic>& which) {
    stored_ = std::make_shared<StoredStatistics>(files, which, device_);
    stored_files_ = std::move(files);
  }

  Json compress(const Step& step) {
    const auto& stage = *step.stage;
    const auto method = make_method(stage.method, Params(stage.params, step.field + ".params"));
    const auto chosen = targets_of(stage, step.field, model());
    method->check_model(model(), chosen);
    if (method->needs_reference()) load_reference();
    return run_method(step, *method, stage.params, chosen);
  }

  Json transform_graph(const Step& step) {
    const Params params(step.stage->params, step.field + ".params");
    const auto method = make_graph_method(step.stage->method, params);
    StepProgress progress(observer_, step.plan);
    Snapshot snapshot = snapshot_of(step);
    const bool was_cut_off = snapshot.state().has_value();
    Json report = Json::object();
    OnnxModel made = method->run(graph_stage(params, progress, snapshot), report);
    body_ = Body(std::make_unique<Graph>(std::move(made)));
    if (was_cut_off) report["resumed_at_step"] = snapshot.resumed_at();
    return report;
  }

  GraphStage graph_stage(const Params& params, Progress& progress, Snapshot& snapshot) {
    const auto labelled = [this, params](const Normalisation& normalisation) {
      return data_.batches(body_->graph(), params, normalisation);
    };
    const auto arrays = [this, params] { return data_.arrays(body_->graph(), params); };
    return {body_->graph(), labelled, progress, snapshot, spec_.seed, arrays};
  }

  Snapshot snapshot_of(const Step& step) const {
    return Snapshot(spec_.snapshots.empty() ? fs::path() : spec_.snapshots / step.plan.key->hex(),
                    body_->stored_bytes());
  }

  Json run_method(const Step& step, const Method& method, const Json& values,
                  const std::set<const Layer*>& chosen) {
    const Params params(values, step.field + ".params");
    Calibration calibration = calibration_of(method, params);
    calibration.stored = stored_;
    if (method.reads_data() && !stored_)
      std::tie(calibration.ids, calibration.mask) = data_.calibration_tokens(model(), params, step.field);
    StepProgress progress(observer_, step.plan);
    Snapshot snapshot = snapshot_of(step);
    const bool was_cut_off = snapshot.state().has_value();
    reset_peak_device_bytes(device_);
    const bool split = spec_.processes > 1 && !step.evaluation && can_split(method);
    if (split) calibration.processes = &begin_together(step, method, values, chosen, calibration, snapshot);
    Json report = method.run({model(), chosen, calibration, progress, snapshot,
                              method.needs_reference() ? reference_.get() : nullptr, spec_.seed});
    set_threads(threads_);
    if (!device_.is_cpu()) report["peak_device_bytes"] = peak_device_bytes(device_);
    if (was_cut_off)
      report[method.training() ? "resumed_at_step" : "resumed_at_block"] = snapshot.resumed_at();
    return report;
  }

  // The other processes join the stage.
  Team& begin_together(const Step& step, const Method& method, const Json& values,
                       const std::set<const Layer*>& chosen, const Calibration& calibration,
                       const Snapshot& snapshot) {
    set_threads(apart_);
    if (!helpers_) helpers_.emplace(spec_.processes, apart_, spec_.device);
    SharedStage stage{files_,
                      {},
                      {},
                      step.stage ? step.stage->method : "",
                      method.needs(),
                      values,
                      step.field + ".params",
                      chosen,
                      calibration,
                      snapshot.folder(),
                      spec_.seed};
    if (method.needs_reference()) stage.reference = dense_input(spec_).files;
    if (stored_) stage.statistics = stored_files_;
    helpers_->begin(stage);
    return helpers_->team();
  }

  // All but the tokens.
  Calibration calibration_of(const Method& method, const Params& params) const {
    Calibration calibration;
    if (!method.reads_data()) return calibration;
    const auto forward = params.get<std::string>("forward_dtype");
    calibration.observe = product_dtype(forward, device_);
    if (forward != "mixed") calibration.forward = calibration.observe;
    if (method.training()) return calibration;
    const auto propagate = params.get<std::string>("propagate");
    if (propagate == "dense") calibration.propagate = Propagate::kDense;
    if (propagate == "reference") calibration.propagate = Propagate::kReference;
    return calibration;
  }

  Json lineage_entry(const Step& step) const {
    const auto& stage = *step.stage;
    Json data = Json::object();
    for (const auto& [name, digest] : inputs_of(spec_, stage)) data[name] = digest.hex();
    return {{"method", stage.method},   {"version", stage.version}, {"params", stage.params},
            {"targets", stage.targets}, {"ignore", stage.ignore},   {"data", data},
            {"seed", spec_.seed}};
  }

  Json with_lineage_of_input() const {
    Json lineage = Json::array({{{"input", spec_.model.digest.hex()}}});
    for (const auto& entry : lineage_)
      if (!entry.contains("input")) lineage.push_back(entry);
    return lineage;
  }

  // The last stage's files, linked (or copied, across file systems) into a folder beside `out`,
  // then renamed.
  void link_result() {
    const fs::path half = spec_.out.parent_path() / ("." + spec_.out.filename().string() + ".half");
    fs::remove_all(half);
    fs::create_directories(half);
    for (const auto& path : files_.paths()) {
      fs::create_directories((half / path).parent_path());
      const auto& pieces = files_.pieces(path);
      std::error_code failed;
      if (pieces.size() == 1) fs::create_hard_link(pieces.front(), half / path, failed);
      if (pieces.size() == 1 && !failed) continue;
      AtomicFile file(half / path);
      for (const auto& piece : pieces) file.write(MappedFile::open(piece)->bytes());
      file.commit(spec_.durability);
    }
    half_ = half;
    files_ = FileTree::on_disk(half_);
  }

  StepOutcome run_evaluation(const Step& step) {
    StepOutcome outcome = measure_or_find(step);
    stored_.reset();
    return outcome;
  }

  StepOutcome measure_or_find(const Step& step) {
    StepOutcome outcome;
    std::vector<EvaluationRow> rows;
    if (step.plan.key) {
      if (const auto output = kept(step)) {
        outcome.cached = true;
        keep_outputs(step, *output);
        for (const auto& row : parse_json(output->open("rows.json").read_all().text(), "rows.json"))
          rows.push_back(EvaluationRow::from_json(row));
      }
    }
    if (!outcome.cached) {
      StepProgress progress(observer_, step.plan);
      const bool compared = step.when != "before" || spec_.reference;
      std::vector<NamedTensor> outputs;
      rows = body_->is_graph() ? measure_graph(step, progress)
                               : measure(*step.evaluation, step.field, compared, {model(), files_}, progress,
                                         is_baseline(step) ? &outputs : nullptr, &step);
      if (step.plan.key) outcome.path = write_measured(step, rows, outputs);
      if (step.plan.key) keep_outputs(step, FileTree::on_disk(outcome.path));
    }
    if (step.when == "before") before_[step.evaluation] = rows;
    note(rows, step);
    return outcome;
  }

  // Whether it measures what later ones compare with.
  bool is_baseline(const Step& step) const {
    return step.when == "before" && !spec_.reference && last_stage(steps_);
  }

  void keep_outputs(const Step& step, const FileTree& measured) {
    if (is_baseline(step) && measured.has(kOutputs)) outputs_.insert_or_assign(step.evaluation, measured);
  }

  std::map<std::string, at::Tensor> reference_outputs(const EvaluationSpec& evaluation) const {
    const auto kept = outputs_.find(&evaluation);
    if (kept == outputs_.end()) return {};
    const SafetensorsReader reader(kept->second);
    std::map<std::string, at::Tensor> tensors;
    for (const auto& name : reader.names()) tensors.emplace(name, read_tensor(reader, name));
    return tensors;
  }

  void note(std::vector<EvaluationRow>& rows, const Step& step) {
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

  struct Measured {
    Model& model;
    const FileTree& files;
  };

  std::vector<EvaluationRow> measure(const EvaluationSpec& evaluation, const std::string& field,
                                     bool compared, const Measured& measured, Progress& progress,
                                     std::vector<NamedTensor>* outputs = nullptr,
                                     const Step* step = nullptr) {
    if (compared) load_reference();
    const auto data = [&](const std::string& name) -> const FileTree& { return spec_.data.at(name).files; };
    static const std::vector<EvaluationRow> kNone;
    const auto before = before_.find(&evaluation);
    const auto dense_outputs = compared ? reference_outputs(evaluation) : std::map<std::string, at::Tensor>();
    EvaluationInput input{measured.model,
                          compared ? reference_.get() : nullptr,
                          compared && !spec_.reference && before != before_.end() ? before->second : kNone,
                          dense_outputs,
                          outputs,
                          data_.tokenizer(),
                          measured.files,
                          data,
                          spec_.seed,
                          hardware_name(spec_.device, threads_),
                          progress,
                          [&](const Method& method, const std::set<const Layer*>& targets) {
                            return run_method(*step, method, evaluation.params, targets);
                          }};
    auto rows = find_suite(evaluation.suite)(Params(evaluation.params, field + ".params"), input);
    for (auto& row : rows) {
      row.seed = spec_.seed;
      row.hardware = input.hardware;
    }
    return rows;
  }

  std::vector<EvaluationRow> measure_graph(const Step& step, Progress& progress) const {
    const auto& evaluation = *step.evaluation;
    const auto data = [&](const std::string& name) -> const FileTree& { return spec_.data.at(name).files; };
    auto rows = find_graph_suite(evaluation.suite)(Params(evaluation.params, step.field + ".params"),
                                                   {body_->graph(), files_, data, spec_.seed, progress});
    for (auto& row : rows) {
      row.seed = spec_.seed;
      row.hardware = hardware_name(spec_.device, threads_);
    }
    return rows;
  }

  // None where it failed: what the stages made is a result without it.
  std::optional<StepOutcome> try_export(const Step& step) {
    try {
      return run_export(step);
    } catch (...) {
      export_error_ = current_engine_error();
      if (export_error_->code() == ErrorCode::kCancelled) throw;
      return std::nullopt;
    }
  }

  // Written, read back by a fresh process, and measured by the recipe's own suites.
  StepOutcome run_export(const Step& step) {
    StepOutcome outcome;
    ExportedArtifact exported;
    exported.format = step.exported->format;
    exported.path = spec_.work / ("step-" + std::to_string(step.plan.index)) / exported.format;
    outcome.report =
        write_checked_export({model(), files_, *step.exported, step.field, "model", exported.path, {}});
    exported.metadata = {
        {"format", exported.format}, {"params", step.exported->params}, {"lineage", with_lineage_of_input()}};
    exported.artifact = build_manifest(exported.path, "model", exported.metadata).digest();
    auto rows = export_rows(step, exported, outcome.report);
    for (auto& row : rows) row.artifact = exported.artifact.hex();
    note(rows, step);
    exports_.push_back(std::move(exported));
    return outcome;
  }

  std::vector<EvaluationRow> export_rows(const Step& step, const ExportedArtifact& exported,
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
    const FileTree files = FileTree::on_disk(exported.path);
    const auto model = load_model(files, device_);
    StepProgress progress(observer_, step.plan);
    for (const auto& evaluation : spec_.recipe.evaluations) {
      const auto& suite = Catalogue::embedded().suite(evaluation.suite, "evaluations");
      if (suite.keyed_by_hardware || !suite.statistics.empty() || evaluation.suite == "sample") continue;
      auto measured = measure(evaluation, "evaluations", true, {*model, files}, progress);
      add_baselines(measured, evaluation);
      rows.insert(rows.end(), measured.begin(), measured.end());
    }
    return rows;
  }

  // Rows, and outputs where the disk has room for them beside a model.
  fs::path write_measured(const Step& step, const std::vector<EvaluationRow>& rows,
                          const std::vector<NamedTensor>& outputs) {
    Json json = Json::array();
    for (const auto& row : rows) json.push_back(row.to_json());
    const fs::path folder = spec_.work / ("step-" + std::to_string(step.plan.index));
    fs::create_directories(folder);
    write_file_atomic(folder / "rows.json", json.dump(), spec_.durability);
    std::vector<TensorToWrite> tensors;
    std::uint64_t bytes = body_->stored_bytes();
    for (const auto& output : outputs) {
      tensors.push_back(to_write(output.suffix, output.tensor));
      bytes += output.tensor.nbytes();
    }
    if (!tensors.empty() && bytes < fs::space(folder).available)
      write_safetensors(folder, fs::path(kOutputs).stem(), tensors, {}, UINT64_MAX, spec_.durability);
    return folder;
  }

  // What the same evaluation gave before the first stage.
  void add_baselines(std::vector<EvaluationRow>& rows, const EvaluationSpec& evaluation) const {
    const auto before = before_.find(&evaluation);
    if (before == before_.end()) return;
    for (auto& row : rows)
      for (const auto& other : before->second)
        if (other.suite == row.suite && other.metric == row.metric) row.baseline_value = other.value;
  }

  JobResult finish() {
    JobResult result;
    result.export_error = export_error_;
    result.rows = rows_;
    result.exports = exports_;
    if (!last_stage(steps_)) return result;
    result.metadata = body_->metadata(spec_.model.files);
    result.metadata["lineage"] = with_lineage_of_input();
    result.artifact = build_manifest(half_, result.kind, result.metadata).digest();
    for (auto& row : result.rows)
      if (row.when == "after")
        row.artifact = result.artifact->hex();
      else if (row.when == "before")
        row.artifact = spec_.model.digest.hex();
    fs::rename(half_, spec_.out);
    half_.clear();
    return result;
  }

  const JobSpec& spec_;
  JobObserver& observer_;
  int& failed_step_;
  JobData data_;
  at::Device device_;
  int apart_, threads_;             // of a process while all compute; of what this one does alone
  std::optional<Helpers> helpers_;  // once they were needed
  std::vector<Step> steps_;
  std::map<std::size_t, bool> needed_;                    // stages by index
  std::map<std::size_t, std::optional<FileTree>> found_;  // steps by index
  std::shared_ptr<const StoredStatistics> stored_;        // of the step that comes next
  FileTree stored_files_;
  FileTree files_;  // of the model as it is now
  fs::path half_;
  std::optional<Body> body_;
  std::unique_ptr<Model> reference_;
  Json lineage_ = Json::array();
  std::vector<EvaluationRow> rows_;
  std::map<const EvaluationSpec*, std::vector<EvaluationRow>>
      before_;                                         // what each gave before the first stage
  std::map<const EvaluationSpec*, FileTree> outputs_;  // of the model that was handed in, where they are kept
  std::vector<ExportedArtifact> exports_;
  std::optional<Error> export_error_;
};

}  // namespace

JobResult run_job(const JobSpec& spec, JobObserver& observer, int& failed_step) {
  return Run(spec, observer, failed_step).run();
}

Json StageForecast::to_json() const {
  return {{"layers", layers},           {"weights", weights}, {"bytes_before", bytes_before},
          {"bytes_after", bytes_after}, {"seconds", seconds}, {"peak_bytes", peak_bytes}};
}

std::vector<StageForecast> forecast_job(const JobSpec& spec, JobObserver& observer) {
  int failed_step = -1;
  return Run(spec, observer, failed_step).forecast();
}

JobInput input_on_disk(const fs::path& path, const std::string& kind) {
  return {FileTree::on_disk(path), build_manifest(path, kind).digest()};
}

}  // namespace wring
