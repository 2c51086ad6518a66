// What a job's evaluations say, before, between and after its stages, and of its exports.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/eval/suite.h"
#include "engine/run/fresh_process.h"
#include "engine/run/job.h"
#include "engine/run/job_data.h"
#include "engine/run/job_model.h"
#include "engine/run/steps.h"

namespace wring {

class Measurements {
 public:
  // Of suites that need it: EvaluationInput::run, for a step.
  using RunMethod = std::function<Json(const Step& step, const Method& method, const Json& params,
                                       const std::set<const Layer*>& targets)>;

  Measurements(const JobSpec& spec, JobObserver& observer, JobData& data, JobModel& model, int threads,
               RunMethod run)
      : spec_(spec),
        observer_(observer),
        data_(data),
        model_(model),
        threads_(threads),
        run_(std::move(run)) {
    for (const auto& [index, files] : spec.measured) keep(spec.recipe.evaluations.at(index), files);
  }

  // The evaluation's rows: those of `kept`, else measured now. A step without a key is not kept.
  StepOutcome run(const Step& step, const std::optional<FileTree>& kept);

  // Of the export in `folder`, by its report and, in a process of their own, by the recipe's suites; where it
  // has none that score a model, on a text of Wring's own. Returns that process's peak of resident memory.
  std::uint64_t run_export(const Step& step, const std::filesystem::path& folder, const Digest& artifact,
                           const Json& report);

  const std::vector<EvaluationRow>& rows() const { return rows_; }

 private:
  // What an evaluation gave of the reference.
  struct Known {
    std::vector<EvaluationRow> rows;
    FileTree files;  // of its step, with what it kept of the outputs
  };

  bool is_baseline(const Step& step) const;
  void keep(const EvaluationSpec& evaluation, const FileTree& files);
  std::map<std::string, at::Tensor> reference_outputs(const EvaluationSpec& evaluation) const;
  void note(std::vector<EvaluationRow> rows, const Step& step);
  std::vector<EvaluationRow> measure(const Step& step, Progress& progress, std::vector<NamedTensor>* outputs);
  std::vector<EvaluationRow> measure_graph(const Step& step, Progress& progress) const;
  const FileTree& data_files(const std::string& name) const { return spec_.data.at(name).files; }
  JobSpec spec_of_export(const FileTree& files, const Digest& artifact) const;
  FreshEvaluations score(const JobSpec& spec, Progress& progress) const;
  FreshEvaluations score_by_recipe(JobSpec spec, Progress& progress) const;
  FreshEvaluations score_on_own_text(JobSpec spec, Progress& progress) const;
  void stamp(std::vector<EvaluationRow>& rows) const;
  std::filesystem::path write(const Step& step, const std::vector<EvaluationRow>& rows,
                              const std::vector<NamedTensor>& outputs) const;
  void add_baselines(std::vector<EvaluationRow>& rows, const EvaluationSpec& evaluation) const;

  const JobSpec& spec_;
  JobObserver& observer_;
  JobData& data_;
  JobModel& model_;
  int threads_;
  RunMethod run_;
  std::vector<EvaluationRow> rows_;
  std::map<const EvaluationSpec*, std::vector<EvaluationRow>>
      before_;  // what each gave before the first stage
  std::map<const EvaluationSpec*, Known> known_;
};

}  // namespace wring
