// Sensitivity: one row that holds the table of layers, levels, errors and bytes.
#include <algorithm>

#include "common/error.h"
#include "engine/calibrate/stored_statistics.h"
#include "engine/eval/layer_sensitivity.h"
#include "engine/eval/suite.h"
#include "engine/text/corpus.h"
#include "recipe/levels.h"

namespace wring {
namespace {

constexpr std::int64_t kWindow = 256;  // positions of a sequence that KL is measured on

// The text's first tokens; undefined where none are asked for.
at::Tensor kl_ids(const Params& params, EvaluationInput& input) {
  const auto tokens = params.get<std::int64_t>("kl_tokens");
  if (tokens == 0 || input.model.kind() != "decoder-lm") return {};
  const auto name = params.get<std::string>("data");
  const auto window = std::min(kWindow, tokens);
  const auto ids = tokenize_corpus(input.data(name), name, input.tokenizer, static_cast<std::size_t>(window));
  const auto count = std::min(tokens, static_cast<std::int64_t>(ids.size())) / window;
  return at::tensor(at::ArrayRef<std::int32_t>(ids.data(), static_cast<std::size_t>(count * window)),
                    at::kInt)
      .to(at::kLong)
      .reshape({count, window});
}

std::set<const Layer*> targets_of(const std::vector<Level>& levels, Model& model) {
  auto targets = statistics_targets(model);
  std::erase_if(targets, [&](const Layer* layer) {
    return std::none_of(levels.begin(), levels.end(), [&](const auto& level) { return level.takes(*layer); });
  });
  return targets;
}

std::vector<EvaluationRow> sensitivity(const Params& params, EvaluationInput& input) {
  auto levels = make_levels(params, "levels");
  const auto targets = targets_of(levels, input.model);
  Json table = input.run(*layer_sensitivity(std::move(levels), kl_ids(params, input)), targets);
  if (table.at("layers").empty())
    throw Error(ErrorCode::kInvalidArgument, "NO_TARGETS", "no layer of this model takes one of the levels",
                params.field("levels"), "See their targets, ignore and group sizes.");
  EvaluationRow row;
  row.suite = "sensitivity";
  row.metric = "layers";
  row.value = static_cast<double>(table.at("layers").size());
  row.n = table.at("layers").size();
  const auto bytes = bytes_of(input.files);
  row.details = {{"levels", params.get<Json>("levels")},
                 {"layers", std::move(table.at("layers"))},
                 {"weight_bytes", bytes.weights},
                 {"artifact_bytes", bytes.all},
                 {"parameters", input.model.parameter_count()}};
  return {row};
}

WRING_SUITE("sensitivity", sensitivity);

}  // namespace
}  // namespace wring
