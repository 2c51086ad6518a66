// A graph that scores classes, as training and evaluation see it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/data/batches.h"
#include "engine/graph/graph.h"

namespace wring {

// What came of a set of examples.
struct Scored {
  std::uint64_t count = 0, correct = 0;
  double loss = 0, squared_loss = 0;  // sums of cross entropies in nats, and of their squares

  double accuracy() const { return static_cast<double>(correct) / static_cast<double>(count); }
  double mean_loss() const { return loss / static_cast<double>(count); }
};

// Refers to the graph, whose first output holds a score for each class: logits, or the probabilities of a
// closing Softmax.
class Classifier {
 public:
  // Throws Error(kInvalidArgument, "NOT_A_CLASSIFIER") unless the graph has one input, of floats and known
  // rank.
  explicit Classifier(const Graph& graph);

  std::vector<std::int64_t> example_sizes() const;  // of the input without the batch; -1: free
  std::optional<ImageSize> image_size() const;      // of an input of images of a fixed size
  std::optional<std::int64_t> fixed_batch() const;

  NamedValues as_inputs(const at::Tensor& inputs) const { return {{input_.name, inputs}}; }

  // Log-probabilities but for a constant an example [n, classes], of fp32 inputs [n, ...].
  at::Tensor logits(const at::Tensor& inputs, GraphMode mode) const;

  // How many classes it scores, from a run on the first example.
  std::int64_t class_count(const Batches& batches) const;

  // Without gradients, in batches, of examples int64 [n]. `report` is told how many are done.
  Scored score(const Batches& batches, const at::Tensor& examples,
               const std::function<void(std::uint64_t done, const Scored& so_far)>& report = {}) const;

 private:
  const Graph& graph_;
  const OnnxValue& input_;
  bool probabilities_;
};

// The data `name` as the classifier takes them. Throws as read_labelled() and Batches do, and
// Error(kInvalidArgument, "BAD_LABEL") for a label beyond the classes.
Batches read_batches(const Classifier& classifier, const FileTree& files, const std::string& name,
                     const Normalisation& normalisation);

}  // namespace wring
