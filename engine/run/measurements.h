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
#include "engine/run/job.h"
#include "engine/run/job_data.h"
#include "engine/run/job_model.h"
#include "engine/run/own_score.h"
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
        run_(std::move(run)) {}

  // The evaluation's rows: those of `kept`, else measured now. A step without a key is not kept.
  StepOutcome run(const Step& step, const std::optional<FileTree>& kept);

  // Of the export in `folder`, by its report and by the recipe's own suites; where it has none that score a
  // model, on a text of Wring's own.
  void run_export(const Step& step, const std::filesystem::path& folder, const std::string& artifact,
                  const Json& report);

  const std::vector<EvaluationRow>& rows() const { return rows_; }

 private:
  struct Measured {
    Model& model;
    const FileTree& files;
    bool as_served;  // where these are a GGUF
  };

  bool is_baseline(const Step& step) const;
  void keep_outputs(const Step& step, const FileTree& measured);
  std::map<std::string, at::Tensor> reference_outputs(const EvaluationSpec& evaluation) const;
  void note(std::vector<EvaluationRow> rows, const Step& step);
  std::vector<EvaluationRow> measure(const EvaluationSpec& evaluation, const std::string& field,
                                     bool compared, const Measured& measured, Progress& progress,
                                     std::vector<NamedTensor>* outputs = nullptr, const Step* step = nullptr);
  std::vector<EvaluationRow> measure_graph(const Step& step, Progress& progress) const;
  std::vector<EvaluationRow> measure_export(const EvaluationSpec& evaluation, const Measured& exported,
                                            Progress& progress);
  const FileTree& data_files(const std::string& name) const;
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
  std::optional<OwnScore> own_score_;
  std::map<const EvaluationSpec*, FileTree> outputs_;  // of the model that was handed in, where they are kept
};

}  // namespace wring
