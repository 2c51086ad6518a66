// Labelled examples lose their labels, arrays go in by name.
#include "engine/methods/graph/graph_examples.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <utility>

namespace wring {
namespace {

constexpr std::int64_t kAtOnce = 32;

// Whether labelled examples go through it; else examples are arrays by the names of the inputs.
bool has_one_input_of_floats(const Graph& graph) {
  const auto& input = graph.inputs().front();
  return graph.inputs().size() == 1 && input.type == OnnxType::kFloat && input.shape &&
         input.shape->size() >= 2;
}

std::optional<std::int64_t> fixed_batch(const Graph& graph) {
  for (const auto& input : graph.inputs())
    if (input.shape && !input.shape->empty()) return input.shape->front().size;
  return std::nullopt;
}

// Some, drawn by the seed.
at::Tensor drawn(std::int64_t count, std::int64_t wanted, std::uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randperm(count, generator, at::TensorOptions(at::kLong)).narrow(0, 0, std::min(count, wanted));
}

}  // namespace

GraphExamples drawn_examples(const GraphStage& stage, std::int64_t wanted, const Normalisation& normalisation,
                             std::shared_ptr<const Batches> batches) {
  if (!batches && has_one_input_of_floats(stage.graph))
    batches = std::make_shared<const Batches>(stage.data(normalisation));
  const NamedValues arrays = batches ? NamedValues() : stage.arrays();
  const at::Tensor chosen =
      drawn(batches ? batches->count() : arrays.begin()->second.size(0), wanted, stage.seed);
  GraphExamples examples;
  examples.count = chosen.size(0);
  examples.at_once = fixed_batch(stage.graph).value_or(std::min(kAtOnce, examples.count));
  examples.inputs = [chosen, batches, arrays, &graph = stage.graph](const at::Tensor& numbers) {
    const at::Tensor some = chosen.index_select(0, numbers);
    if (batches) return Classifier(graph).as_inputs(batches->inputs(some));
    NamedValues values;
    for (const auto& [name, array] : arrays) values[name] = array.index_select(0, some);
    return values;
  };
  return examples;
}

}  // namespace wring
