// One input, one output of scores, and a batch that may be fixed.
#include "engine/graph/classifier.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "engine/graph/onnx_tensor.h"

namespace wring {
namespace {

constexpr std::int64_t kScoredAtOnce = 128;

[[noreturn]] void refuse(const std::string& field, const std::string& why, const std::string& hint) {
  throw Error(ErrorCode::kInvalidArgument, "NOT_A_CLASSIFIER", why, field, hint);
}

const OnnxValue& only_input(const Graph& graph) {
  if (graph.inputs().size() != 1)
    refuse("model", "the graph has " + std::to_string(graph.inputs().size()) + " inputs",
           "Labelled examples go through networks with one input.");
  const OnnxValue& input = graph.inputs().front();
  if (scalar_type(*input.type, input.name) != at::kFloat || !input.shape || input.shape->size() < 2)
    refuse(input.name, "the graph's input is not of floats with a batch axis",
           "Labelled examples are fp32 [batch, ...].");
  return input;
}

// Whether the graph ends in a Softmax.
bool gives_probabilities(const Graph& graph) {
  const auto& nodes = graph.nodes().nodes;
  return std::any_of(nodes.begin(), nodes.end(), [&](const OnnxNode& node) {
    return node.operation == "Softmax" && node.outputs.front() == graph.outputs().front().name;
  });
}

void add(Scored& scored, const at::Tensor& logits, const at::Tensor& labels) {
  const at::Tensor losses = at::cross_entropy_loss(logits, labels, {}, at::Reduction::None).to(at::kDouble);
  scored.count += static_cast<std::uint64_t>(labels.size(0));
  scored.correct += static_cast<std::uint64_t>((logits.argmax(1) == labels).sum().item<std::int64_t>());
  scored.loss += losses.sum().item<double>();
  scored.squared_loss += losses.square().sum().item<double>();
}

}  // namespace

Classifier::Classifier(const Graph& graph)
    : graph_(graph), input_(only_input(graph)), probabilities_(gives_probabilities(graph)) {}

std::vector<std::int64_t> Classifier::example_sizes() const {
  std::vector<std::int64_t> sizes;
  for (std::size_t i = 1; i < input_.shape->size(); ++i)
    sizes.push_back((*input_.shape)[i].size.value_or(-1));
  return sizes;
}

std::optional<ImageSize> Classifier::image_size() const {
  const auto sizes = example_sizes();
  if (sizes.size() != 3) return std::nullopt;
  const bool last = sizes[0] != 1 && sizes[0] != 3 && (sizes[2] == 1 || sizes[2] == 3);
  const ImageSize size{sizes[last ? 0 : 1], sizes[last ? 1 : 2]};
  return size.first > 0 && size.second > 0 ? std::optional(size) : std::nullopt;
}

std::optional<std::int64_t> Classifier::fixed_batch() const {
  return input_.shape->front().size;
}

at::Tensor Classifier::logits(const at::Tensor& inputs, GraphMode mode) const {
  const auto outputs = graph_.run(as_inputs(inputs), mode);
  at::Tensor scores = outputs.at(graph_.outputs().front().name);
  if (scores.dim() > 2 && scores.numel() == scores.size(0) * scores.size(1)) scores = scores.flatten(1);
  if (scores.dim() != 2 || scores.size(0) != inputs.size(0))
    refuse(graph_.outputs().front().name, "the graph's first output is not a score for each class",
           "Labelled examples go through networks that give [batch, classes].");
  constexpr double kLeast = 1e-30;
  return probabilities_ ? scores.clamp_min(kLeast).log() : scores;
}

std::int64_t Classifier::class_count(const Batches& batches) const {
  const c10::NoGradGuard unrecorded;
  const std::int64_t count = fixed_batch().value_or(1);
  return logits(batches.inputs(at::zeros({count}, at::kLong)), GraphMode::kInference).size(1);
}

Scored Classifier::score(const Batches& batches, const at::Tensor& examples,
                         const std::function<void(std::uint64_t done, const Scored& so_far)>& report) const {
  const c10::NoGradGuard unrecorded;
  const std::int64_t at_once = fixed_batch().value_or(kScoredAtOnce);
  Scored scored;
  for (std::int64_t first = 0; first < examples.size(0); first += at_once) {
    const std::int64_t count = std::min(at_once, examples.size(0) - first);
    const at::Tensor part = examples.narrow(0, first, count);
    // A batch of a fixed size is filled up with its first example.
    const at::Tensor whole = fixed_batch() && count < at_once
                                 ? at::cat({part, part.narrow(0, 0, 1).expand(at_once - count)})
                                 : part;
    const at::Tensor all = logits(batches.inputs(whole), GraphMode::kInference);
    add(scored, all.narrow(0, 0, count).cpu(), batches.labels(part));
    if (report) report(scored.count, scored);
  }
  return scored;
}

Batches read_batches(const Classifier& classifier, const FileTree& files, const std::string& name,
                     const Normalisation& normalisation) {
  Batches batches(read_labelled(files, name, classifier.image_size()), normalisation,
                  classifier.example_sizes(), "data." + name);
  const std::int64_t classes = classifier.class_count(batches);
  const auto named = static_cast<std::int64_t>(batches.classes().size());
  if (named > 0 && named < classes)
    throw Error(ErrorCode::kInvalidArgument, "MISSING_CLASSES",
                "images lie in folders of " + std::to_string(named) + " classes, the network scores " +
                    std::to_string(classes),
                "data." + name,
                "Folders are numbered in the order of their names: hand in one of each class, with an image "
                "at least, or arrays with labels.");
  if (batches.highest_label() >= classes)
    throw Error(ErrorCode::kInvalidArgument, "BAD_LABEL",
                "label " + std::to_string(batches.highest_label()) +
                    (batches.classes().empty() ? "" : " ('" + batches.classes().back() + "')") +
                    " is beyond the " + std::to_string(classes) + " classes that the network scores",
                "data." + name, "Labels count from 0; folders are numbered in the order of their names.");
  return batches;
}

}  // namespace wring
