// Texts become tokens, labelled files become batches.
#include "engine/run/job_data.h"

#include <algorithm>

#include "engine/graph/graph_file.h"
#include "engine/graph/input_arrays.h"
#include "engine/math/matmul.h"
#include "engine/model/load.h"
#include "engine/model/padded_tokens.h"
#include "engine/run/graph_forecast.h"
#include "engine/text/corpus.h"
#include "recipe/recipe_input.h"

namespace wring {
namespace {

// Encoders have no more positions than their table.
std::int64_t longest_sequence(const Model& model, std::int64_t length) {
  if (model.kind() == "decoder-lm") return length;
  return std::min(length,
                  json_or<std::int64_t>(model.config(), "max_position_embeddings", length, "config.json"));
}

}  // namespace

void JobData::check_names() const {
  const auto known = spec_.recipe.data_names();
  check_data_is_there(
      known, [&](const auto& name) { return spec_.data.contains(name); }, "data");
  for (const auto& [name, input] : spec_.data)
    if (!is_usual_data(name)) check_data_name(name, known, "data." + name);
}

void JobData::check_texts() {
  for (const auto& evaluation : spec_.recipe.evaluations) {
    const Params params(evaluation.params, "evaluations");
    if (!params.has("data")) continue;
    const auto name = params.get<std::string>("data");
    const FileTree& files = spec_.data.at(name).files;
    if (params.has("window"))
      (void)tokenize_corpus(files, name, tokenizer(), params.get<std::size_t>("window"));
    else
      check_not_empty(files, name);
  }
}

const Tokenizer& JobData::tokenizer() {
  if (!tokenizer_) tokenizer_ = load_tokenizer(spec_.tokenizer ? *spec_.tokenizer : spec_.model.files);
  return *tokenizer_;
}

const JobData::Tokens& JobData::calibration_tokens(const Model& model, const Params& params,
                                                   const std::string& field) {
  const auto known = tokens_.find(field);
  return known != tokens_.end() ? known->second
                                : tokens_.emplace(field, read_tokens(model, params)).first->second;
}

JobData::Tokens JobData::tokens_or_blank(const Model& model, const Params& params, const std::string& field) {
  if (spec_.data.contains(params.get<std::string>("data"))) return calibration_tokens(model, params, field);
  const auto length = longest_sequence(model, params.get<std::int64_t>("sequence_length"));
  return {at::zeros({params.get<std::int64_t>("samples"), length}, at::kLong), {}};
}

JobData::Tokens JobData::read_tokens(const Model& model, const Params& params) {
  const auto name = params.get<std::string>("data");
  const auto samples = params.get<std::int64_t>("samples"),
             length = params.get<std::int64_t>("sequence_length");
  const FileTree& files = spec_.data.at(name).files;
  if (model.kind() == "decoder-lm") {
    const auto ids = tokenize_corpus(files, name, tokenizer(), static_cast<std::size_t>(length));
    const auto count = std::min<std::int64_t>(samples, static_cast<std::int64_t>(ids.size()) / length);
    const auto all = at::tensor(
        at::ArrayRef<std::int32_t>(ids.data(), static_cast<std::size_t>(count * length)), at::kInt);
    return {all.to(at::kLong).reshape({count, length}), {}};
  }
  const auto padded = tokenize_sentences(read_sentences(files, name, static_cast<std::size_t>(samples)),
                                         longest_sequence(model, length), tokenizer());
  return {padded.ids, padded.mask};
}

const Batches& JobData::batches(const Graph& graph, const Params& params,
                                const Normalisation& normalisation) {
  const auto name = params.get<std::string>("data");
  const auto key = Json{name, normalisation.mean, normalisation.deviation}.dump();
  const auto known = batches_.find(key);
  if (known != batches_.end()) return known->second;
  const Classifier classifier(graph);
  const auto input = spec_.data.find(name);
  return batches_
      .emplace(key, input == spec_.data.end()
                        ? blank_batches(classifier, name, normalisation)
                        : read_batches(classifier, input->second.files, name, normalisation))
      .first->second;
}

NamedValues JobData::arrays(const Graph& graph, const Params& params) const {
  const auto name = params.get<std::string>("data");
  const auto input = spec_.data.find(name);
  if (input == spec_.data.end()) throw_no_forecast(name);
  return read_input_arrays(graph, input->second.files, name);
}

GraphStage JobData::graph_stage(Graph& graph, const FileTree& reference, const Params& params,
                                const GraphTargets& targets, Progress& progress, Snapshot& snapshot) {
  const auto labelled = [this, &graph, params](const Normalisation& normalisation) {
    return batches(graph, params, normalisation);
  };
  const auto arrays = [this, &graph, params] { return this->arrays(graph, params); };
  const auto referred = [&reference, device = graph.device()] { return load_graph(reference, device); };
  return {graph, labelled, progress, snapshot, spec_.seed, arrays, targets, referred};
}

Calibration calibration_of(const Method& method, const Params& params, at::Device device) {
  Calibration calibration;
  if (!method.reads_data()) return calibration;
  const auto forward = params.get<std::string>("forward_dtype");
  calibration.observe = product_dtype(forward, device);
  if (forward != "mixed") calibration.forward = calibration.observe;
  if (method.training()) return calibration;
  const auto propagate = params.get<std::string>("propagate");
  if (propagate == "dense") calibration.propagate = Propagate::kDense;
  if (propagate == "reference") calibration.propagate = Propagate::kReference;
  return calibration;
}

}  // namespace wring
