// A job's data as its stages take them, each read once.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "engine/calibrate/calibrate.h"
#include "engine/graph/classifier.h"
#include "engine/methods/graph_method.h"
#include "engine/methods/method.h"
#include "engine/model/model.h"
#include "engine/run/job.h"
#include "engine/text/tokenizer.h"

namespace wring {

class JobData {
 public:
  explicit JobData(const JobSpec& spec) : spec_(spec) {}

  // Throws Error(kInvalidArgument) where the recipe names data that are not there, or the other way round.
  void check_names() const;
  // The same where a text that an evaluation will read is empty or too short.
  void check_texts();

  const Tokenizer& tokenizer();

  // Tokens of the stage at `field`, [samples, sequence_length], and their mask. Decoders: consecutive blocks
  // of the text. Encoders: its sentences, padded.
  using Tokens = std::pair<at::Tensor, at::Tensor>;
  const Tokens& calibration_tokens(const Model& model, const Params& params, const std::string& field);
  // For a forecast: the same, or blank ones where they are not at hand.
  Tokens tokens_or_blank(const Model& model, const Params& params, const std::string& field);

  // Labelled examples, and arrays by the names of the graph's inputs. For a forecast there may be none: the
  // first are blank then, the second throw NO_FORECAST.
  const Batches& batches(const Graph& graph, const Params& params, const Normalisation& normalisation);
  NamedValues arrays(const Graph& graph, const Params& params) const;
  // Reads them, and the reference of these files, as the stage asks. Graph and files must outlive it.
  GraphStage graph_stage(Graph& graph, const FileTree& reference, const Params& params,
                         const GraphTargets& targets, Progress& progress, Snapshot& snapshot);

 private:
  Tokens read_tokens(const Model& model, const Params& params);

  const JobSpec& spec_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::map<std::string, Tokens> tokens_;    // by field
  std::map<std::string, Batches> batches_;  // by data and normalisation
};

// What a method's parameters say of its calibration: all but the tokens.
Calibration calibration_of(const Method& method, const Params& params, at::Device device);

}  // namespace wring
