// Names in the state: "parameter.N" in the graph's order, "constant.NAME", and the caller's own.
#include "engine/train/graph_weights.h"

#include <c10/core/GradMode.h>

#include "common/error.h"

namespace wring {

GraphWeights::GraphWeights(Graph& graph) : graph_(graph) {
  graph.track_gradients(true);
  for (const auto& parameter : graph.parameters()) leaves_.push_back(parameter.value);
}

std::vector<std::pair<std::string, at::Tensor>> GraphWeights::all() const {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (std::size_t i = 0; i < leaves_.size(); ++i)
    tensors.emplace_back("parameter." + std::to_string(i), leaves_[i]);
  for (const auto& [name, value] : graph_.constants())
    if (at::isFloatingType(value.scalar_type())) tensors.emplace_back("constant." + name, value);
  tensors.insert(tensors.end(), kept_.begin(), kept_.end());
  return tensors;
}

std::vector<NamedTensor> GraphWeights::state() const {
  std::vector<NamedTensor> state;
  for (const auto& [name, tensor] : all()) state.push_back({name, tensor.detach().cpu()});
  return state;
}

void GraphWeights::set_state(const std::map<std::string, at::Tensor>& state) {
  const c10::NoGradGuard unrecorded;
  for (auto& [name, tensor] : all()) {
    const auto it = state.find(name);
    if (it == state.end() || it->second.sizes() != tensor.sizes())
      throw Error(ErrorCode::kDataLoss, "BAD_SNAPSHOT", "no value " + name + " of this shape");
    tensor.copy_(it->second);
  }
}

}  // namespace wring
