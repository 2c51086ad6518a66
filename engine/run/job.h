// A job as the engine runs it: a recipe's stages and evaluations in order, each looked up before it is run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/digest.h"
#include "common/error.h"
#include "common/files.h"
#include "common/json.h"
#include "engine/eval/suite.h"
#include "formats/file_tree.h"
#include "recipe/recipe.h"

namespace wring {

// A model or data set handed in: its files, and the digest of its manifest.
struct JobInput {
  FileTree files;
  Digest digest;
  std::string name = "model";  // for files of exports (model_file_name()); says nothing of the content
};

struct JobSpec {
  Recipe recipe;
  JobInput model;
  std::map<std::string, JobInput> data;
  std::optional<JobInput> reference;  // what evaluations compare with; none: the input, once it was changed
  std::map<std::size_t, FileTree> measured;  // what evaluations gave of the reference, by their indices: as
                                             // the folder of their step holds it
  std::optional<FileTree> tokenizer;         // a model whose tokenizer cuts the texts; none: the input
  std::uint64_t seed = 0;
  int processes = 1;                             // that share calibration and training: 1, 2, 4 or 8
  int threads = 0;                               // of each process; 0: all cores, shared among them
  std::string device = "cpu";                    // "cpu", "cuda:0"
  std::uint64_t memory_bytes = 0;                // that the engine may take; 0: what the machine has
  std::filesystem::path out;                     // of the result; does not exist yet, its parent does
  std::filesystem::path work;                    // scratch; exists
  Durability durability = Durability::kMachine;  // of all that is written
  bool share_statistics = false;    // gathers those of dense stages in steps of their own, for other jobs too
  bool plan_only = false;           // ends once the plan was told
  std::filesystem::path snapshots;  // of stages by key, for a run that goes on after this one; empty: none
};

// What a stage is about to do, from a look at the model and a probe of the method on it.
struct StageForecast {
  Json to_json() const;

  std::string name;                                 // the method, "statistics", or "export: gguf"
  std::uint64_t layers = 0, weights = 0;            // targeted
  std::uint64_t bytes_before = 0, bytes_after = 0;  // of these weights
  double seconds = 0;
  std::uint64_t peak_bytes = 0;  // resident memory, highest
};

// A step of the plan: a stage of the recipe, its statistics, an evaluation or an export.
struct StepPlan {
  std::size_t index = 0;
  std::string name;                       // "gptq", "evaluate: perplexity (before)"
  std::string kind;                       // "stage", "statistics", "evaluation", "export"
  std::optional<Digest> key;              // names the output's content; none for timings
  std::optional<StageForecast> forecast;  // of an export, and of a stage or statistics not at hand already
  bool at_hand = false;                   // a stage or statistics that nothing is left to do for
};

struct StepOutcome {
  bool cached = false;
  double seconds = 0;
  std::uint64_t peak_bytes = 0;  // resident memory of a process, highest while the step ran
  Json report = Json::object();
  std::filesystem::path path;  // folder that holds the output under the step's key; empty: nothing to keep
};

// Who watches a job, keeps its steps' outputs, and may cancel it: the pipe to an agent, or a terminal.
class JobObserver {
 public:
  virtual ~JobObserver() = default;
  virtual void on_plan(const std::vector<StepPlan>& steps) = 0;
  // The output that was kept under the step's key, or nullopt.
  virtual std::optional<FileTree> look_up(const StepPlan& step) = 0;
  virtual void on_start(const StepPlan& step) = 0;
  virtual void on_progress(const StepPlan& step, std::uint64_t done, std::uint64_t total,
                           const std::string& unit, const std::string& metric, double value) = 0;
  virtual void on_done(const StepPlan& step, const StepOutcome& outcome) = 0;
  virtual void on_rows(const std::vector<EvaluationRow>& rows) = 0;
  // Throws Error(kCancelled) once the job is to stop. Called often.
  virtual void check_cancelled() = 0;
};

// The result in another tool's format, read back by a fresh process.
struct ExportedArtifact {
  std::string format;
  std::filesystem::path path;  // folder
  Json metadata;               // of its manifest
  Digest artifact;
};

struct JobResult {
  std::optional<Digest> artifact;  // of spec.out; none for a recipe without stages
  std::string kind = "model";
  Json metadata;
  std::vector<EvaluationRow> rows;
  std::vector<ExportedArtifact> exports;  // in folders below spec.work
  std::optional<Error> export_error;      // what the first export that failed ended with; none ran after it
};

// Runs the job; spec.out is there afterwards, whole, or not at all. Throws Error; `failed_step` then says
// where (-1: before the first).
JobResult run_job(const JobSpec& spec, JobObserver& observer, int& failed_step);

// What run_job() would forecast for each stage; needs no data. Throws Error as run_job() does before its
// first step.
std::vector<StageForecast> forecast_job(const JobSpec& spec, JobObserver& observer);

// The input at `path`, hashed; or one already known by its manifest.
JobInput input_on_disk(const std::filesystem::path& path, const std::string& kind);

}  // namespace wring
