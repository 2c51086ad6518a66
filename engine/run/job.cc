// Running a job: plan the steps, look each up, else run it; write the result where nobody sees it half-done.
#include "engine/run/job.h"

#include <algorithm>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

#include "common/clock.h"
#include "common/cores.h"
#include "common/error.h"
#include "common/text.h"
#include "engine/calibrate/stored_statistics.h"
#include "engine/export/unread_tensors.h"
#include "engine/methods/graph_method.h"
#include "engine/methods/search/searching_method.h"
#include "engine/model/load.h"
#include "engine/run/checked_export.h"
#include "engine/run/failure.h"
#include "engine/run/forecasts.h"
#include "engine/run/hardware.h"
#include "engine/run/helpers.h"
#include "engine/run/job_data.h"
#include "engine/run/job_model.h"
#include "engine/run/measurements.h"
#include "engine/run/room.h"
#include "engine/run/snapshot.h"
#include "engine/run/step_progress.h"
#include "engine/run/steps.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

// Of each process while all compute; what the first one does alone has those of all.
int threads_apart(const JobSpec& spec) {
  if (spec.threads > 0) return spec.threads;
  return std::max(1, usable_cores() / spec.processes);
}

class Run {
 public:
  Run(const JobSpec& spec, JobObserver& observer, int& failed_step)
      : spec_(spec),
        observer_(observer),
        failed_step_(failed_step),
        data_(spec),
        model_(spec, parse_device(spec.device)),
        apart_(threads_apart(spec)),
        threads_(set_threads(spec.threads * spec.processes)),
        forecasts_(spec, data_, model_, threads_, apart_),
        measurements_(spec, observer, data_, model_, threads_,
                      [this](const auto& step, const auto& method, const auto& params, const auto& targets) {
                        return run_method(step, method, params, targets);
                      }) {}

  ~Run() {
    std::error_code ignored;
    if (!half_.empty()) fs::remove_all(half_, ignored);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  std::vector<StageForecast> forecast() {
    load();
    std::vector<StageForecast> forecasts;
    Room room(spec_, model_.body());
    for (std::size_t i = 0; i < spec_.recipe.stages.size(); ++i) {
      const auto& stage = spec_.recipe.stages[i];
      const auto statistics =
          spec_.share_statistics ? statistics_of(stage.method, stage.params) : std::nullopt;
      if (statistics)
        forecasts.push_back(forecasts_.statistics(*statistics, stage.params, stage_field(i), room));
      forecasts.push_back(forecasts_.stage(i, room, statistics.has_value()));
    }
    for (const auto& exported : spec_.recipe.exports) forecasts.push_back(room.add_export(exported));
    return forecasts;
  }

  JobResult run() {
    failed_step_ = -1;
    data_.check_names();
    load();
    model_.body().check_finite();
    if (!model_.is_graph()) data_.check_texts();
    model_.let_go();
    steps_ = plan_steps(spec_);
    find_stages();
    forecast_steps();
    announce();
    if (spec_.plan_only) return {};
    for (const Step& step : steps_) {
      failed_step_ = static_cast<int>(step.plan.index);
      observer_.check_cancelled();
      observer_.on_start(step.plan);
      if (step.stage || step.statistics) model_.let_go();
      reset_peak_resident_bytes();
      const Stopwatch watch;
      std::optional<StepOutcome> outcome = step.statistics ? run_statistics(step)
                                           : step.stage    ? run_stage(step)
                                           : step.exported ? try_export(step)
                                                           : run_evaluation(step);
      if (!outcome) return finish();
      outcome->seconds = watch.seconds();
      outcome->peak_bytes = std::max(outcome->peak_bytes, peak_resident_bytes());
      observer_.on_done(step.plan, *outcome);
    }
    failed_step_ = static_cast<int>(steps_.size()) - 1;
    return finish();
  }

 private:
  void load() {
    model_.load(spec_.model.files);
    check_recipe(spec_, model_.body(), model_.files());
  }

  void announce() {
    std::vector<StepPlan> plans;
    for (const auto& step : steps_) plans.push_back(step.plan);
    observer_.on_plan(plans);
  }

  // Looks for stages from the last one back to one that is at hand: those before it are not needed, but for
  // an evaluation between them that is not at hand, and what a stage that runs takes as its reference.
  void find_stages() {
    bool wanted = true;                // by what comes after
    std::set<std::size_t> references;  // of stages that run, by index in the recipe
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
      if (step->stage) {
        wanted = wanted || references.contains(step->stage_index);
        needed_[step->plan.index] = wanted;
        wanted = wanted && !kept(*step);
        if (wanted && step->reference) references.insert(*step->reference);
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
      if (model_.is_graph() && !spec_.plan_only && !Forecasts::trains(Params(step.stage->params, step.field)))
        continue;  // it would be run twice
      if (!room) room.emplace(spec_, model_.body());
      if (step.statistics)
        step.plan.forecast =
            forecasts_.statistics(*step.statistics, fed_by(step).params(), step.field, *room);
      else
        step.plan.forecast = forecasts_.stage(step.stage_index, *room, shares(step));
    }
    if (room) room->check();
  }

  // Where all stages are at hand: exports are made of the last one's output.
  Room room_for_exports() {
    const Step* last = last_stage(steps_);
    if (const auto output = last ? kept(*last) : std::nullopt)
      return {spec_, Body::load(*output, model_.device())};
    return {spec_, model_.body()};
  }

  // The step that reads the statistics.
  const Step& fed_by(const Step& statistics) const { return steps_[statistics.plan.index + 1]; }
  // Whether a step before the stage gathers its statistics.
  bool shares(const Step& stage) const {
    return stage.plan.index > 0 && steps_[stage.plan.index - 1].statistics.has_value();
  }

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
      lineage_ = json_at<Json>(parse_json(output->open("wring.json").read_all().text(), "wring.json"),
                               "lineage", "wring.json");
      model_.load(*output);
    } else {
      const auto unread =
          model_.is_graph() ? std::vector<std::string>() : unread_tensors(model_.model(), model_.files());
      outcome.report = model_.is_graph() ? transform_graph(step) : compress(step);
      if (!unread.empty()) outcome.report["not_read"] = unread;
      release_free_memory();
      outcome.path = spec_.work / ("stage-" + std::to_string(step.plan.index));
      lineage_.push_back(lineage_entry(step));
      model_.body().save(spec_.model.files, with_lineage_of_input(), outcome.path, spec_.durability);
      model_.load(FileTree::on_disk(outcome.path));  // mapped before the agent may move the folder
    }
    stored_.reset();
    outputs_[step.stage_index] = model_.files();
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
    outcome.report = run_method(step, *gather_statistics(which, folder), reader.params(),
                                statistics_targets(model_.model()));
    release_free_memory();
    if (!outcome.report.at("kept").get<bool>()) return outcome;  // its reader gathers its own
    outcome.report["bytes"] = statistics_bytes(model_.model(), which);
    outcome.path = folder;
    keep_statistics(FileTree::on_disk(folder), which);
    return outcome;
  }

  void keep_statistics(FileTree files, const std::set<Statistic>& which) {
    stored_ = std::make_shared<StoredStatistics>(files, which, model_.device());
    stored_files_ = std::move(files);
  }

  Json compress(const Step& step) {
    const auto& stage = *step.stage;
    const auto method = make_method(stage.method, Params(stage.params, step.field + ".params"));
    const auto chosen = targets_of(stage, step.field, model_.model());
    method->check_model(model_.model(), chosen);
    return run_method(step, *method, stage.params, chosen);
  }

  Json transform_graph(const Step& step) {
    const Params params(step.stage->params, step.field + ".params");
    const auto method = make_graph_method(step.stage->method, params);
    StepProgress progress(observer_, step.plan);
    Snapshot snapshot = snapshot_of(step);
    const bool was_cut_off = snapshot.state().has_value();
    Json report = Json::object();
    OnnxModel made = method->run(data_.graph_stage(model_.graph(), reference_of(step), params,
                                                   GraphTargets(*step.stage, step.field), progress, snapshot),
                                 report);
    model_.replace(Body(std::make_unique<Graph>(std::move(made))));
    if (was_cut_off) report["resumed_at_step"] = snapshot.resumed_at();
    return report;
  }

  Snapshot snapshot_of(const Step& step) const {
    return Snapshot(spec_.snapshots.empty() ? fs::path() : spec_.snapshots / step.plan.key->hex(),
                    model_.body().stored_bytes());
  }

  Json run_method(const Step& step, const Method& method, const Json& values,
                  const std::set<const Layer*>& chosen) {
    const Params params(values, step.field + ".params");
    Model* const reference = method.needs_reference() ? &model_.reference(reference_of(step)) : nullptr;
    Calibration calibration = calibration_of(method, params, model_.device());
    calibration.stored = stored_;
    if (method.reads_data() && (!stored_ || SearchingMethod::tokens_of(method) > 0))
      std::tie(calibration.ids, calibration.mask) =
          data_.calibration_tokens(model_.model(), params, step.field);
    StepProgress progress(observer_, step.plan);
    Snapshot snapshot = snapshot_of(step);
    const bool was_cut_off = snapshot.state().has_value();
    reset_peak_device_bytes(model_.device());
    const bool split = spec_.processes > 1 && !step.evaluation && can_split(method);
    if (split) calibration.processes = &begin_together(step, method, values, chosen, calibration, snapshot);
    Json report =
        method.run({model_.model(), chosen, calibration, progress, snapshot, reference, spec_.seed});
    set_threads(threads_);
    if (!model_.device().is_cpu()) report["peak_device_bytes"] = peak_device_bytes(model_.device());
    if (was_cut_off)
      report[method.training() ? "resumed_at_step" : "resumed_at_block"] = snapshot.resumed_at();
    return report;
  }

  // What the step's method works towards.
  const FileTree& reference_of(const Step& step) const {
    return step.reference ? outputs_.at(*step.reference) : dense_input(spec_).files;
  }

  // The other processes join the stage.
  Team& begin_together(const Step& step, const Method& method, const Json& values,
                       const std::set<const Layer*>& chosen, const Calibration& calibration,
                       const Snapshot& snapshot) {
    set_threads(apart_);
    if (!helpers_) helpers_.emplace(spec_.processes, apart_, spec_.device);
    SharedStage stage{model_.files(),
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
    if (method.needs_reference()) stage.reference = reference_of(step);
    if (stored_) stage.statistics = stored_files_;
    helpers_->begin(stage);
    return helpers_->team();
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
    const FileTree files = model_.files();
    for (const auto& path : files.paths()) {
      fs::create_directories((half / path).parent_path());
      const auto& pieces = files.pieces(path);
      std::error_code failed;
      if (pieces.size() == 1) fs::create_hard_link(pieces.front(), half / path, failed);
      if (pieces.size() == 1 && !failed) continue;
      AtomicFile file(half / path);
      for (const auto& piece : pieces) file.write(MappedFile::open(piece)->bytes());
      file.commit(spec_.durability);
    }
    half_ = half;
    model_.moved_to(FileTree::on_disk(half_));
  }

  StepOutcome run_evaluation(const Step& step) {
    StepOutcome outcome = measurements_.run(step, step.plan.key ? kept(step) : std::nullopt);
    stored_.reset();
    return outcome;
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

  // Written, read back by a fresh process, and measured by another.
  StepOutcome run_export(const Step& step) {
    StepOutcome outcome;
    ExportedArtifact exported;
    exported.format = step.exported->format;
    exported.path = spec_.work / ("step-" + std::to_string(step.plan.index)) / exported.format;
    outcome.report = write_checked_export(
        {model_.model(), model_.files(), *step.exported, step.field, spec_.model.name, exported.path, {}});
    exported.metadata = {
        {"format", exported.format}, {"params", step.exported->params}, {"lineage", with_lineage_of_input()}};
    exported.artifact = build_manifest(exported.path, "model", exported.metadata).digest();
    release_free_memory();
    outcome.peak_bytes = measurements_.run_export(step, exported.path, exported.artifact, outcome.report);
    exports_.push_back(std::move(exported));
    return outcome;
  }

  JobResult finish() {
    JobResult result;
    result.export_error = export_error_;
    result.rows = measurements_.rows();
    result.exports = exports_;
    if (!last_stage(steps_)) return result;
    result.metadata = model_.body().metadata(spec_.model.files);
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
  JobModel model_;
  int apart_, threads_;  // of a process while all compute; of what this one does alone
  Forecasts forecasts_;
  Measurements measurements_;
  std::optional<Helpers> helpers_;  // once they were needed
  std::vector<Step> steps_;
  std::map<std::size_t, bool> needed_;                    // stages by index
  std::map<std::size_t, std::optional<FileTree>> found_;  // steps by index
  std::shared_ptr<const StoredStatistics> stored_;        // of the step that comes next
  FileTree stored_files_;
  std::map<std::size_t, FileTree> outputs_;  // of the stages so far, by index in the recipe
  fs::path half_;
  Json lineage_ = Json::array();
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
  return {FileTree::on_disk(path), build_manifest(path, kind).digest(), name_of_model(path)};
}

}  // namespace wring
