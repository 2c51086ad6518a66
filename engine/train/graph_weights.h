// A graph's parameters as leaves, for the time of a training run.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/train/training_loop.h"

namespace wring {

// The graph's own tensors are trained. What else training moves, running statistics, is in its state.
class GraphWeights final : public Trainable {
 public:
  explicit GraphWeights(Graph& graph);
  ~GraphWeights() override { graph_.track_gradients(false); }
  GraphWeights(const GraphWeights&) = delete;
  GraphWeights& operator=(const GraphWeights&) = delete;

  const std::vector<at::Tensor>& leaves() const override { return leaves_; }  // in the order of parameters()

  // A tensor of the caller's that belongs to the state and is changed in place.
  void keep(std::string name, at::Tensor tensor) { kept_.emplace_back(std::move(name), std::move(tensor)); }

  std::vector<NamedTensor> state() const override;
  void set_state(const std::map<std::string, at::Tensor>& state) override;

 private:
  std::vector<std::pair<std::string, at::Tensor>> all() const;

  Graph& graph_;
  std::vector<at::Tensor> leaves_;
  std::vector<std::pair<std::string, at::Tensor>> kept_;
};

}  // namespace wring
