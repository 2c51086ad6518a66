// What an evaluation suite is: measures a model, returns rows.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/json.h"
#include "engine/methods/method.h"
#include "engine/model/ggml_arithmetic.h"
#include "engine/model/model.h"
#include "engine/run/progress.h"
#include "engine/text/tokenizer.h"
#include "formats/file_tree.h"

namespace wring {

// One measured figure.
struct EvaluationRow {
  std::string suite, metric;
  double value = 0;
  std::string unit;                      // "", "bits", "bytes", "s", "tokens/s"
  std::uint64_t n = 0;                   // scored items
  std::optional<double> standard_error;  // standard error of value
  std::optional<double> baseline_value;
  std::optional<double> change_error;  // standard error of value - baseline_value, paired by window
  std::uint64_t seed = 0;
  std::string hardware;  // it was measured on: device and threads
  std::string when;      // before, after, or the index of the stage it follows
  std::string text;      // for rows that are no number
  Json details = Json::object();
  std::string artifact;  // digest of what was measured, where it is known

  Json to_json() const;
  static EvaluationRow from_json(const Json& json);
};

// Sets the change's error of perplexity and nll in `rows`, where `before` has them of the same windows (their
// details' window_nll and window_scored): of the difference of two means over the same tokens, the tokens of
// a window taken together as one draw (the ratio estimator's standard error, Cochran, Sampling
// Techniques, chapter 6); of perplexity by the delta method. With fewer than two windows there is none.
void pair_by_window(std::vector<EvaluationRow>& rows, const std::vector<EvaluationRow>& before);

// What a suite may look at. `reference` is the job's input model (nullptr where it is the model itself or
// none is kept).
struct EvaluationInput {
  Model& model;
  Model* reference;
  const std::vector<EvaluationRow>&
      before;  // this evaluation's rows of that model; none where it was not measured
  // What this evaluation put in `outputs` of that model; none where it was not measured, or kept nothing.
  const std::map<std::string, at::Tensor>& reference_outputs;
  // Takes what a later evaluation will compare with; null where none will.
  std::vector<NamedTensor>* outputs;
  const Tokenizer& tokenizer;
  const FileTree& files;                                         // of the model, for its size
  std::function<const FileTree&(const std::string& name)> data;  // throws kInvalidArgument "MISSING_DATA"
  std::uint64_t seed;
  std::string hardware;  // device and threads
  Progress& progress;
  // Runs a method that leaves the model as it is as if it were a stage with the suite's parameters: with the
  // statistics that are at hand, and from its snapshot. Of suites whose spec names statistics.
  std::function<Json(const Method& method, const std::set<const Layer*>& targets)> run;
};

// What a suite holds while it measures: by its parameter `arithmetic`, which is settled then, the model's
// layers round their inputs as its files' runtime does; never the reference's. note() says so in a row's
// details.
class ServedModel {
 public:
  ServedModel(const Params& params, const EvaluationInput& input);
  void note(std::vector<EvaluationRow>& rows) const;

 private:
  GgmlArithmetic arithmetic_;
};

// Of a model's files: those that hold tensors, and all.
struct FileBytes {
  std::uint64_t weights = 0, all = 0;
};
FileBytes bytes_of(const FileTree& files);

using Suite = std::vector<EvaluationRow> (*)(const Params& params, EvaluationInput& input);
bool register_suite(const char* name, Suite suite);
Suite find_suite(const std::string& name);  // throws kUnimplemented "UNKNOWN_SUITE"

#define WRING_SUITE(name, function) \
  [[maybe_unused]] const bool registered_##function = ::wring::register_suite(name, function)

}  // namespace wring
